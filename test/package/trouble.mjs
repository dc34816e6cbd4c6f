// The installed package where something is wrong: it says what, what to do, and goes on where it can.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { node, remove, root, run } from "./stage.mjs";

const linux = process.platform === "linux" ? null : "only Linux binaries are looked into";
const main = (installed) => join(installed, "dist/cli/main.js");
const prebuilds = (installed) =>
  join(installed, "prebuilds", `${process.platform}-${process.arch}`);
const shippedCpu = (installed) => join(prebuilds(installed), "firesteel.glibc.node");

/** A copy of what was installed, to be spoiled; its dependencies are those of the first. */
function copy({ app, temporary }, name) {
  const modules = join(temporary, name, "node_modules");
  mkdirSync(modules, { recursive: true });
  for (const entry of readdirSync(join(app, "node_modules"))) {
    if (entry !== "firesteel") symlinkSync(join(app, "node_modules", entry), join(modules, entry));
  }
  // Without the sources, which nothing here reads.
  const filter = (path) => !path.endsWith("firesteel/native");
  cpSync(join(app, "node_modules/firesteel"), join(modules, "firesteel"), {
    recursive: true,
    filter,
  });
  return join(modules, "firesteel");
}

/** What is said where no CPU binary loads, after `spoil` had its way with the shipped one. */
function refused(context, name, spoil) {
  const installed = copy(context, name);
  spoil(shippedCpu(installed));
  const program = `import(${JSON.stringify(join(installed, "dist/index.js"))}).then(({ Engine }) => {
    try { new Engine({ device: "cpu" }); } catch (error) { console.log(error.code + "\\n" + error.message); }
  });`;
  const said = node(["-e", program]);
  assert.match(said, /^ERR_NO_DEVICE\nExpected a binary for device "cpu"/);
  assert.match(said, /npx firesteel build.*\n.*npx firesteel doctor/s);
  remove(join(context.temporary, name));
  return said;
}

const patch = (offset, bytes) => (path) => {
  const data = readFileSync(path);
  data.set(bytes, offset);
  writeFileSync(path, data);
};

/** The field e_machine of the processor that this is not. */
const otherMachine = process.arch === "arm64" ? 62 : 183;

/** A library that calls itself the driver. */
function driver({ temporary }, name, source) {
  const folder = join(temporary, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "driver.c"), source);
  run("cc", ["-shared", "-fPIC", "-o", join(folder, "libcuda.so.1"), join(folder, "driver.c")]);
  return {
    ...process.env,
    LD_LIBRARY_PATH: folder,
    XDG_CACHE_HOME: join(folder, "cache"),
    FIRESTEEL_DEVICE: "",
  };
}

const emulated = join(root, "out/Release/firesteel-emulated.node");
const needsCompiler = () =>
  spawnSync("cc", ["--version"]).status === 0 ? null : "no C compiler for a driver";
const needsCuda = ({ installed }) =>
  existsSync(join(prebuilds(installed), "firesteel-cuda.node"))
    ? needsCompiler()
    : "the CUDA addon is not built";

/** Makes an engine as who does not ask for a device gets it. */
const anyEngine = (installed) => `import(${JSON.stringify(join(installed, "dist/index.js"))})
  .then(({ Engine }) => console.log(new Engine().device));`;

export const troubles = [
  {
    name: "a truncated binary is refused before it is loaded",
    skip: () => linux,
    check: (context) =>
      assert.match(
        refused(context, "short", (path) => truncateSync(path, 100_000)),
        /damaged: 100000 bytes of \d+/,
      ),
  },
  {
    name: "a file that is no binary",
    long: true,
    skip: () => linux,
    check: (context) =>
      assert.match(
        refused(context, "text", (path) => writeFileSync(path, "hello")),
        /damaged: not a 64-bit/,
      ),
  },
  {
    name: "a binary of another processor",
    long: true,
    skip: () => linux,
    check: (context) =>
      assert.match(
        refused(context, "other", patch(18, [otherMachine, 0])),
        /built for (arm64|x64); this process is/,
      ),
  },
  {
    name: "a binary that needs a younger glibc",
    skip: () => linux,
    check: (context) => {
      // Version 2.14's name and hash become those of one that no glibc has yet.
      const spoil = (path) => {
        const data = readFileSync(path);
        const hash = (name) =>
          [...name].reduce((h, c) => {
            const next = (h << 4) + c.charCodeAt(0);
            const high = next & 0xf0000000;
            return ((next ^ (high >>> 24)) & ~high) >>> 0;
          }, 0);
        const name = (version) => Buffer.from(`GLIBC_${version}\0`);
        const bytes = (version) => {
          const word = Buffer.alloc(4);
          word.writeUInt32LE(hash(`GLIBC_${version}`));
          return word;
        };
        data.set(name("2.99"), data.indexOf(name("2.14")));
        data.set(bytes("2.99"), data.indexOf(bytes("2.14")));
        writeFileSync(path, data);
      };
      assert.match(refused(context, "younger", spoil), /needs glibc 2\.99; this system has 2\.\d+/);
    },
  },
  {
    name: "a package without its binaries",
    check: (context) =>
      assert.match(
        refused(context, "bare", (path) => rmSync(path)),
        /not there/,
      ),
  },
  {
    name: "spaces and accents in the path, through a symlink as pnpm makes them",
    check: (context) => {
      const installed = copy(context, "Ordner mit Ümlaut 火");
      const link = join(context.temporary, "link to it");
      symlinkSync(installed, link);
      for (const at of [installed, link])
        assert.match(node([main(at), "doctor"]), /self-check passed/);
    },
  },
  {
    name: "a read-only folder, as another user without a home",
    skip: () => (process.getuid?.() === 0 ? null : "only root can become another user"),
    check: (context) => {
      chmodSync(context.temporary, 0o755);
      const nobody = {
        uid: 65534,
        gid: 65534,
        cwd: "/",
        env: { PATH: process.env.PATH, HOME: "/nonexistent" },
      };
      assert.match(node([main(context.installed), "doctor"], nobody), /self-check passed/);
      const build = { ...nobody, status: 1 };
      assert.throws(
        () => node([main(context.installed), "build"], { ...build, status: 0 }),
        /none can be written to/,
      );
    },
  },
  {
    name: "node --no-addons says so",
    check: ({ app }) => {
      const program = `import("firesteel").then(({ Engine }) => new Engine({ device: "cpu" })).catch((error) => console.log(error.message))`;
      assert.match(
        node(["--no-addons", "-e", program], { cwd: app }),
        /Cannot load native addon|addons? .*disabled/,
      );
    },
  },
  {
    name: "a driver that is too old: which it is, which is needed; the CPU serves",
    skip: needsCuda,
    check: (context) => {
      const source =
        "int cuDriverGetVersion(int* v) { *v = 12020; return 0; }\nint cuInit(unsigned f) { return 0; }\n";
      const env = driver(context, "old-driver", source);
      const said = node([main(context.installed), "doctor"], { env });
      assert.match(said, /driver is too old: it runs CUDA 12\.2, this binary needs CUDA \d+\.\d+/);
      assert.match(said, /to do: update NVIDIA's driver/);
      assert.equal(node(["-e", anyEngine(context.installed)], { env }), "cpu\n");
    },
  },
  {
    name: "a driver that works is tried in a child once, until something changes",
    skip: () => (existsSync(emulated) ? needsCompiler() : "the emulated addon is not built"),
    check: (context) => {
      const installed = copy(context, "works");
      // Opens without a card, so it stands in for the CUDA addon where a card answers.
      const cuda = join(prebuilds(installed), "firesteel-cuda.node");
      cpSync(emulated, cuda);
      const env = driver(context, "good-driver", "int cuInit(unsigned f) { return 0; }\n");
      const program = `const children = require("node:child_process");
        const { spawnSync } = children;
        let count = 0;
        children.spawnSync = (...args) => { count++; return spawnSync(...args); };
        require("node:module").syncBuiltinESMExports();
        import(${JSON.stringify(join(installed, "dist/index.js"))})
          .then(({ Engine }) => console.log(new Engine().device, count));`;
      const trials = (changed = {}) => node(["-e", program], { env: { ...env, ...changed } });
      assert.equal(trials(), "emulated 1\n");
      assert.equal(trials(), "emulated 0\n");
      assert.equal(trials({ CUDA_VISIBLE_DEVICES: "1" }), "emulated 1\n");
      utimesSync(cuda, 1, 1);
      assert.equal(trials(), "emulated 1\n");
      assert.equal(trials({ XDG_CACHE_HOME: "/proc/none" }), "emulated 1\n");
      remove(join(context.temporary, "works"));
    },
  },
  {
    name: "a driver that crashes takes a child down, not the process; one trial for its workers",
    skip: needsCuda,
    check: (context) => {
      const folder = join(context.temporary, "bad-driver");
      const source = `#include <stdio.h>\n#include <stdlib.h>
__attribute__((constructor)) static void opened(void) {
  FILE* log = fopen("${join(folder, "opened")}", "a"); fputs("x", log); fclose(log); abort();
}\n`;
      const env = driver(context, "bad-driver", source);
      assert.match(
        node([main(context.installed), "doctor"], { env }),
        /a trial process ended with SIGABRT/,
      );
      writeFileSync(join(folder, "opened"), "");
      const program = `const { Worker, isMainThread } = require("node:worker_threads");
        const engine = (then) => import(${JSON.stringify(join(context.installed, "dist/index.js"))}).then(({ Engine }) => { console.log(new Engine().device); then(); });
        engine(() => { if (isMainThread) { new Worker(__filename); new Worker(__filename); } });`;
      const file = join(folder, "threads.cjs");
      writeFileSync(file, program);
      assert.equal(node([file], { env }), "cpu\ncpu\ncpu\n");
      assert.equal(readFileSync(join(folder, "opened"), "utf8"), "x");
    },
  },
];
