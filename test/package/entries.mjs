// Every way into the package, from the folder of somebody who has installed it.
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { manifest, node, root } from "./stage.mjs";

const entries = Object.keys(manifest.exports)
  .filter((name) => name !== "./package.json")
  .map((name) => join("firesteel", name));

/** Log-prob of equal logits over 8 tokens, which is -log 8. */
const kernel = `
const engine = new Engine({ device: "cpu" });
const { logProb: value } = logProb(engine, engine.tensor(new Float32Array(8), [1, 8]), [3]);
if (Math.abs(value.readSync()[0] + Math.log(8)) > 1e-5) throw new Error("a wrong log-prob");`;

/** A file in the consumer's folder, run by Node. */
function script(app, name, text) {
  const path = join(app, name);
  writeFileSync(path, text);
  return node([path], { cwd: app });
}

/** The consumer's tools are those of the repository. */
function borrow(app, ...names) {
  for (const name of names) {
    const at = join(app, "node_modules", name);
    mkdirSync(join(at, ".."), { recursive: true });
    try {
      symlinkSync(join(root, "node_modules", name), at);
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
  }
}

/** Compiles a file that imports all entry points, as strictly as it goes. */
function compile(app, name, options, text) {
  borrow(app, "typescript", "@types/node", "undici-types");
  const folder = join(app, name);
  mkdirSync(folder, { recursive: true });
  const common = {
    target: "ES2022",
    lib: ["ES2023", "ESNext.Disposable"],
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: ["node"],
  };
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...common, ...options }, include: ["*"] }),
  );
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(folder, "all.ts"), text);
  node([join(root, "node_modules/typescript/bin/tsc"), "-p", folder]);
}

const typed = `${entries.map((entry, i) => `import * as entry${i} from "${entry}";`).join("\n")}
import { Engine, FiresteelError, logProb, type TrainOptions } from "firesteel";
export const all = [${entries.map((_, i) => `entry${i}`).join(", ")}];
const engine: Engine = new Engine({ device: "cpu", threads: 1 });
export const values: Promise<ArrayLike<number>> = logProb(engine, engine.tensor([0, 1], [1, 2]), [1]).logProb.read() as Promise<ArrayLike<number>>;
export const options: Pick<TrainOptions, "steps"> = { steps: 2 };
export const code = (error: FiresteelError): string => error.code;
// @ts-expect-error: a device that there is not
new Engine({ device: "tpu" });
`;

export const ways = [
  {
    name: "import, every entry point",
    check: ({ app }) => {
      const imports = entries.map(
        (entry) =>
          `if (Object.keys(await import("${entry}")).length === 0) throw new Error("${entry}");`,
      );
      script(
        app,
        "esm.mjs",
        `import { Engine, logProb } from "firesteel";\n${kernel}\n${imports.join("\n")}`,
      );
    },
  },
  {
    name: "require(), every entry point",
    check: ({ app }) => {
      const required = entries.map(
        (entry) =>
          `if (Object.keys(require("${entry}")).length === 0) throw new Error("${entry}");`,
      );
      script(
        app,
        "commonjs.cjs",
        `const { Engine, logProb } = require("firesteel");\n${kernel}\n${required.join("\n")}`,
      );
    },
  },
  {
    name: "a worker thread, and the main thread beside it",
    check: ({ app }) => {
      writeFileSync(
        join(app, "inWorker.mjs"),
        `import { Engine, logProb } from "firesteel";\n${kernel}`,
      );
      script(
        app,
        "worker.mjs",
        `import { Worker } from "node:worker_threads";
import { once } from "node:events";
import "./inWorker.mjs";
const workers = [1, 2].map(() => new Worker(new URL("./inWorker.mjs", import.meta.url)));
for (const [code] of await Promise.all(workers.map((worker) => once(worker, "exit")))) if (code !== 0) process.exit(1);`,
      );
    },
  },
  {
    name: "a forked child",
    check: ({ app }) => {
      writeFileSync(
        join(app, "inChild.mjs"),
        `import { Engine, logProb } from "firesteel";\n${kernel}\nprocess.send("done");`,
      );
      const out = script(
        app,
        "fork.mjs",
        `import { fork } from "node:child_process";
fork(new URL("./inChild.mjs", import.meta.url)).on("message", (said) => console.log(said)).on("exit", (code) => process.exit(code));`,
      );
      assert.equal(out, "done\n");
    },
  },
  {
    name: "vitest in threads",
    check: ({ app }) => {
      borrow(app, "vitest");
      for (const name of ["one", "two"]) {
        writeFileSync(
          join(app, `${name}.spec.js`),
          `import { Engine, logProb } from "firesteel";\nimport { test } from "vitest";\ntest("a kernel", () => {${kernel}});`,
        );
      }
      // As from a shell: what this process may have of a test runner of its own is not inherited.
      const env = Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !/^(VITEST|TEST$|NODE_ENV)/.test(name)),
      );
      const vitest = join(root, "node_modules/vitest/vitest.mjs");
      const out = node([vitest, "run", "--root", app, "--pool", "threads", "--no-color"], {
        cwd: app,
        env,
      });
      assert.match(out, /Tests +2 passed/);
    },
  },
  {
    name: "TypeScript, node16 resolution",
    check: ({ app }) =>
      compile(app, "node16", { module: "node16", moduleResolution: "node16" }, typed),
  },
  {
    name: "TypeScript, bundler resolution",
    long: true,
    check: ({ app }) =>
      compile(app, "bundler", { module: "esnext", moduleResolution: "bundler" }, typed),
  },
];
