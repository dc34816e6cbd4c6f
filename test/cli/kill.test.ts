import { spawn } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { readCheckpoint } from "../../src/trainer/checkpoint.js";
import { temporaryFolder } from "../folders.js";

const main = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "dist", "cli", "main.js");

/** A short run's command line: 12 steps of milliseconds, with JSON on stdout. */
async function shortRun(folder: string): Promise<(out: string) => string[]> {
  const config = join(folder, "config.json");
  const settings = { warmStart: false, promptsPerStep: 4, numGenerations: 4, evalSamples: 1 };
  const kept = { keepCheckpoints: 2, keepBest: true, evalSteps: 2 };
  await writeFile(config, JSON.stringify({ ...settings, ...kept, device: "cpu", steps: 12 }));
  return (out) => [main, "train", "--config", config, "--out", out, "--json"];
}

test("an interrupt stops at the end of a step, with a checkpoint and how to go on", async () => {
  const folder = await temporaryFolder();
  const out = join(folder, "run");
  const args = (await shortRun(folder))(out);
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let err = "";
  child.stderr.on("data", (data) => {
    err += data;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  let steps = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, step } = JSON.parse(line);
    expect(event).not.toBe("done");
    steps = step;
    if (steps === 3) child.kill("SIGINT");
  }
  expect(await ended).toBe(1);
  expect(err).toMatch(/^Stopping at the end of this step; interrupt again to stop at once$/m);
  expect(err).toContain(`Stopped after step ${steps}; go on with: firesteel train --resume ${out}`);
  expect(await readdir(out)).toContain(`checkpoint-${steps}`);
});

test("a second interrupt stops at once, and the last checkpoint goes on", async () => {
  const folder = await temporaryFolder();
  const out = join(folder, "run");
  // Steps long enough to be interrupted twice.
  const args = [...(await shortRun(folder))(out), "--set", "promptsPerStep=64"];
  const child = spawn(process.execPath, [...args, "--set", "numGenerations=32"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.once("close", (_, signal) => resolve(signal)),
  );
  let err = "";
  child.stderr.once("data", () => child.kill("SIGINT"));
  child.stderr.on("data", (data) => {
    err += data;
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if (JSON.parse(line).step === 1) child.kill("SIGINT");
  }
  expect(await ended).toBe("SIGINT");
  expect(err).toContain(`Stopped at once; go on with: firesteel train --resume ${out}\n`);
  // Of the step that was reported, or of the one before where that was still being written.
  const { body } = await readCheckpoint<{ progress: { step: number } }>(out);
  expect([0, 1]).toContain(body.progress.step);
});

test("two interrupts that come together stop at once", async () => {
  const folder = await temporaryFolder();
  const args = (await shortRun(folder))(join(folder, "run"));
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.once("close", (_, signal) => resolve(signal)),
  );
  child.stdout.once("data", () => {
    child.kill("SIGINT");
    child.kill("SIGTERM");
  });
  child.stderr.resume();
  expect(await ended).toMatch(/^SIG(INT|TERM)$/);
});

test("a reader that goes away ends the command quietly", async () => {
  const folder = await temporaryFolder();
  const args = (await shortRun(folder))(join(folder, "run"));
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let err = "";
  child.stderr.on("data", (data) => {
    err += data;
  });
  child.stdout.once("data", () => child.stdout.destroy());
  expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(1);
  expect(err).toBe("");
});
