// The native sources of one kind, one per line, for binding.gyp (gyp cannot glob).
const { readdirSync } = require("node:fs");
const { join } = require("node:path");

const root = join(__dirname, "..");
const kinds = {
  addon: /^native\/addon\/[^/]+\.cc$/,
  cpu: /^native\/(runtime\/[^/]+\.cc|runtime\/(cpu|simd)\/[^/]+\.cc|(gemm|kernels\/[^/]+|nn\/[^/]+)\/cpu\.cc)$/,
  simd: /^native\/(gemm|kernels\/[^/]+|nn\/[^/]+)\/simd\.cc$/,
};

module.exports = (kind) =>
  readdirSync(join(root, "native"), { recursive: true })
    .map((name) => `native/${name.replaceAll("\\", "/")}`)
    .filter((name) => kinds[kind].test(name))
    .sort()
    .join("\n");
