// clang-format over the native code: node scripts/formatNative.mjs [--check]
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const options = process.argv.slice(2);
if (options.some((option) => option !== "--check")) {
  console.error("usage: node scripts/formatNative.mjs [--check]");
  process.exit(2);
}
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const clangFormat = join(
  dirname(createRequire(import.meta.url).resolve("clang-format/package.json")),
  "index.js",
);

const files = ["native", "test/native", "bench/binding_overhead"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(h|cc|cu)$/.test(name) && !name.startsWith("build"))
    .map((name) => join(folder, name)),
);
const mode = options.includes("--check") ? ["--dry-run", "--Werror"] : ["-i"];
const result = spawnSync(process.execPath, [clangFormat, ...mode, ...files], {
  cwd: root,
  stdio: "inherit",
});
process.exit(result.status ?? 1);
