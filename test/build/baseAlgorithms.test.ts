import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

// Runs on dist, as `npm run docs:base` does; `npm test` builds it before.
const script = fileURLToPath(new URL("../../scripts/generateBaseAlgorithms.mjs", import.meta.url));
const run = (...args: string[]) =>
  spawnSync(process.execPath, [script, ...args], { encoding: "utf8" });

it("docs/base-algorithms.md and its pictures are what the data and the systems give", () => {
  expect(run("--check")).toMatchObject({ status: 0, stderr: "" });
});

it("a recipe that does not exist is refused before anything is trained", () => {
  expect(run("--train", "grop")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^error: no base recipe "grop"; there are grpo, /),
  });
});
