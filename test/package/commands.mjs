// The command line of the installed package.
import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { node, run } from "./stage.mjs";

const firesteel = (app, args, options) =>
  node([join(app, "node_modules/firesteel/dist/cli/main.js"), ...args], { cwd: app, ...options });

export const commands = [
  {
    name: "npx firesteel --help",
    check: ({ app }) =>
      assert.match(
        run("npx", ["--no", "--", "firesteel", "--help"], { cwd: app }),
        /Usage: firesteel/,
      ),
  },
  {
    name: "doctor: the prebuilt addon is loaded, and its kernels are right",
    check: ({ app }) => {
      const { glibc, backends } = JSON.parse(firesteel(app, ["doctor", "--json"]));
      const [cpu, cuda] = backends;
      assert.match(
        cpu.attempts.find(({ reason }) => reason === null).path,
        /prebuilds.*firesteel\.glibc\.node$/,
      );
      assert.equal(cpu.selfCheck, "passed");
      if (process.platform === "linux") {
        assert.match(glibc ?? "", /^2\.\d+$/);
        assert.match(cpu.needs.glibc, /^2\.\d+/);
      }
      if (cuda.device === null) assert.ok(cuda.advice.length > 0);
    },
  },
  {
    name: "train --steps 2",
    check: ({ app }) => {
      const lines = firesteel(app, [
        "train",
        "--system",
        "grpo",
        "--steps",
        "2",
        "--device",
        "cpu",
        "--out",
        join(app, "run"),
        "--json",
      ])
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      const done = lines.at(-1);
      assert.equal(done.event, "done");
      assert.equal(done.steps, 2);
      assert.ok(existsSync(join(app, "run")));
    },
  },
  {
    name: "build without tools names all that is missing",
    check: ({ app }) => {
      assert.throws(
        () => firesteel(app, ["build"], { env: { ...process.env, PATH: "", CXX: "" } }),
        /exit code 1.*Cannot build without cmake, ninja or make, a C\+\+ compiler/s,
      );
    },
  },
  {
    name: "build: compiles, is loaded first, and trains",
    long: true,
    check: ({ app }) => {
      const { path, backend } = JSON.parse(firesteel(app, ["build", "--json"]));
      assert.equal(backend, "cpu");
      assert.equal(path, join(app, "node_modules/firesteel/out/Release/firesteel.node"));
      const [cpu] = JSON.parse(firesteel(app, ["doctor", "--json"])).backends;
      assert.deepEqual(cpu.attempts, [{ backend: "cpu", path, reason: null }]);
      assert.equal(cpu.selfCheck, "passed");
      rmSync(join(path, "..", ".."), { recursive: true });
    },
  },
];
