// What the tarball holds: patterns, and that nothing in it lacks a source or the other way round.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { node, root, run } from "./stage.mjs";

const limit = 5e6;

/** Everything that may be shipped. */
const shipped = [
  /^(package\.json|README\.md|CHANGELOG\.md|THIRD_PARTY\.md|LICENSE|CMakeLists\.txt)$/,
  /^dist\/[\w/]+\.(js|d\.ts)$/,
  /^native\/(addon|gemm|kernels|nn|runtime)\/[\w/]+\.(cc|h|cu)$/,
  /^prebuilds\/\w+-\w+\/(firesteel\.glibc|firesteel-cuda)\.node$/,
  /^src\/report\/page\/\w+\.(js|css|html)$/,
];

const below = (folder, pattern) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).filter((name) =>
    pattern.test(name),
  );

function sameNames(actual, expected) {
  assert.deepEqual([...actual].sort(), [...expected].sort());
}

export const contents = [
  {
    name: "holds nothing but what is used",
    check: ({ names }) => {
      assert.deepEqual(
        names.filter((name) => !shipped.some((pattern) => pattern.test(name))),
        [],
      );
    },
  },
  {
    name: "each source is compiled, and all that is compiled has a source",
    check: ({ names }) => {
      const sources = below("src", /\.ts$/).map((name) => `dist/${name.slice(0, -".ts".length)}`);
      const compiled = (ending) =>
        names.filter((name) => name.endsWith(ending)).map((name) => name.slice(0, -ending.length));
      sameNames(compiled(".d.ts"), sources);
      sameNames(
        compiled(".js").filter((name) => name.startsWith("dist/")),
        sources,
      );
    },
  },
  {
    name: "the native sources and the report's page are whole",
    check: ({ names }) => {
      const native = below("native", /\.\w+$/).filter((name) => !name.startsWith("emulator/"));
      sameNames(
        names.filter((name) => name.startsWith("native/")),
        native.map((name) => `native/${name}`),
      );
      const page = below("src/report/page", /\.\w+$/);
      sameNames(
        names.filter((name) => name.startsWith("src/")),
        page.map((name) => `src/report/page/${name}`),
      );
    },
  },
  {
    name: "no file waits at its top level, or names a source map",
    check: ({ installed, names }) => {
      for (const name of names.filter((name) => /^dist\/.*\.js$/.test(name))) {
        const text = readFileSync(join(installed, name), "utf8");
        assert.doesNotMatch(
          text,
          /^(await |(export )?(const|let) .*= await )|sourceMappingURL/m,
          name,
        );
      }
    },
  },
  {
    name: "nothing runs at install",
    check: ({ installed }) => {
      const { scripts, gypfile } = JSON.parse(
        readFileSync(join(installed, "package.json"), "utf8"),
      );
      for (const name of ["preinstall", "install", "postinstall", "prepare"])
        assert.equal(scripts[name], undefined);
      assert.equal(gypfile, false);
      assert.equal(existsSync(join(installed, "binding.gyp")), false); // pnpm and yarn compile where there is one
    },
  },
  {
    name: `under ${limit / 1e6} MB without the CUDA addon`,
    check: ({ bytes, cudaBytes }) => {
      assert.ok(bytes - cudaBytes < limit, `${bytes} bytes`);
      return `${(bytes / 1e6).toFixed(1)} MB in all`;
    },
  },
  {
    name: "publint finds nothing",
    check: ({ tarball }) => {
      const out = node([join(root, "node_modules/publint/src/cli.js"), "run", tarball, "--strict"]);
      assert.match(out, /All good!/);
    },
  },
  {
    name: "attw finds nothing (ESM, which require() takes too)",
    check: ({ tarball }) => {
      const attw = join(root, "node_modules/@arethetypeswrong/cli/dist/index.js");
      run(process.execPath, [attw, tarball, "--profile", "esm-only", "--no-emoji", "--no-color"]);
    },
  },
];
