// Makes prebuilds/<platform>-<arch>, which the package ships: the CPU addon by prebuildify (node-gyp,
// binding.gyp), and beside it the CUDA addon that `npm run build` made, where it did.
//   node scripts/prebuild.mjs [--out DIR] [--nodedir DIR]
// --out: where prebuilds/ goes (default: here). --nodedir: Node's headers; without it those of
// node-api-headers serve, and nothing is downloaded.
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "..");
const require = createRequire(import.meta.url);
const { values } = parseArgs({
  options: { out: { type: "string", default: root }, nodedir: { type: "string" } },
});

/** What node-gyp expects of Node's headers; all flags that matter stand in binding.gyp. */
function headers(folder) {
  const include = join(folder, "include", "node");
  mkdirSync(include, { recursive: true });
  cpSync(require("node-api-headers").include_dir, include, { recursive: true });
  const common = {
    target_defaults: {
      default_configuration: "Release",
      configurations: { Release: {}, Debug: {} },
      cflags: ["-fPIC", "-pthread"],
      ldflags: ["-pthread"],
    },
  };
  writeFileSync(join(include, "common.gypi"), JSON.stringify(common));
  writeFileSync(join(include, "config.gypi"), '{ "target_defaults": {}, "variables": {} }');
  return folder;
}

function run(command, args, env = process.env) {
  const done = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (done.status === 0) return;
  process.stderr.write(`${done.stdout ?? ""}${done.stderr ?? done.error}`);
  console.error(`prebuild: ${command} ${args.join(" ")} failed`);
  process.exit(1);
}

const size = (path) => `${(statSync(path).size / 1e6).toFixed(1)} MB`;
const temporary = mkdtempSync(join(tmpdir(), "firesteel-headers-"));
try {
  const nodedir = values.nodedir ?? headers(temporary);
  const prebuildify = require.resolve("prebuildify/bin.js");
  const options = ["--napi", "--strip", "--tag-libc", "--out", values.out];
  // gyp builds one file at a time unless told otherwise.
  run(process.execPath, [prebuildify, ...options], {
    JOBS: "max",
    ...process.env,
    npm_config_nodedir: nodedir,
  });
} finally {
  rmSync(temporary, { recursive: true });
}
const folder = join(values.out, "prebuilds", `${process.platform}-${process.arch}`);
const cpu = join(folder, "firesteel.glibc.node");
if (process.platform === "linux") console.log(`prebuild: ${cpu}, ${size(cpu)}`);

const built = join(root, "out", "Release", "firesteel-cuda.node");
const cuda = join(folder, "firesteel-cuda.node");
if (existsSync(built)) {
  copyFileSync(built, cuda);
  run("strip", [cuda]);
  console.log(`prebuild: ${cuda}, ${size(cuda)}`);
} else {
  rmSync(cuda, { force: true });
  console.log("prebuild: no CUDA addon in out/Release, so none is shipped");
}
