import { spawn, spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder, weightsOf } from "../trainer/runs.js";

const main = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "dist", "cli", "main.js");

test("a process killed in the middle and resumed ends in bit-identical weights", async () => {
  const folder = await temporaryFolder();
  const config = join(folder, "config.json");
  const settings = { warmStart: false, promptsPerStep: 4, numGenerations: 4, evalSamples: 1 };
  await writeFile(config, JSON.stringify({ ...settings, device: "cpu", steps: 12 }));
  const [whole, killed] = [join(folder, "whole"), join(folder, "killed")];
  const args = (out: string) => [main, "train", "--config", config, "--out", out, "--json"];

  const straight = spawnSync(process.execPath, args(whole), { encoding: "utf8" });
  expect(straight.stderr).toBe("");
  expect(straight.status).toBe(0);

  const child = spawn(process.execPath, args(killed), { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.once("exit", (_, signal) => resolve(signal)),
  );
  for await (const line of createInterface({ input: child.stdout })) {
    if (JSON.parse(line).step === 5) child.kill("SIGKILL");
  }
  expect(await ended).toBe("SIGKILL");

  const resumed = spawnSync(process.execPath, [main, "train", "--resume", killed, "--json"], {
    encoding: "utf8",
  });
  expect(resumed.status).toBe(0);
  expect(JSON.parse(resumed.stdout.trimEnd().split("\n").at(-1)!)).toMatchObject({
    event: "done",
    steps: 12,
    out: killed,
  });
  expect(weightsOf(killed, 12)).toEqual(weightsOf(whole, 12));
});
