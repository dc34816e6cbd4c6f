import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";

// Runs on dist, as `npm run test:crash` does; `npm test` builds it before.
// Each part takes seconds; a machine that is busy with others takes minutes.
vi.setConfig({ testTimeout: 180_000 });
const runner = fileURLToPath(new URL("run.mjs", import.meta.url));

/** The short form of a part. */
async function short(part: string, ...flags: string[]) {
  const args = [runner, "--short", "--json", "--only", part, ...flags];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  for await (const text of child.stdout) out += text;
  const { parts, failed } = JSON.parse(out);
  expect(parts[0].failures).toEqual([]);
  expect(failed).toBe(0);
  return parts[0] as { figures: Record<string, number>; skipped?: string | null };
}

test("a process killed at any instant goes on to the bits of one that never stopped", async () => {
  const { figures } = await short("kills", "--kills", "6");
  expect(figures.kills).toBe(6);
});

test("a death or a refusal at any file operation leaves a run that goes on", async () => {
  const { figures } = await short("faultPoints");
  expect(figures.deaths).toBeGreaterThan(5);
  expect(figures.refusals).toBeGreaterThan(10);
});

test("a process that kills itself amid a checkpoint leaves a run that goes on", async () => {
  const { figures } = await short("killPoints");
  expect(figures["processes that killed themselves"]).toBeGreaterThanOrEqual(1);
});

test("a whole checkpoint outlasts a loss of power after any file operation", async () => {
  const { figures } = await short("powerCuts", "--every", "19");
  expect(figures.disks).toBeGreaterThan(100);
});

test("a full, read-only or missing folder is refused with what to do", async () => {
  const { figures } = await short("disks");
  expect(figures["folders in the way or gone"]).toBeGreaterThanOrEqual(5);
});

test("a damaged file is refused by name, with the checkpoint that is whole", async () => {
  const { figures } = await short("damages");
  expect(figures["damaged checkpoints refused"]).toBeGreaterThan(50);
});

test("a second process at a run's folder is refused, and a kill frees it", async () => {
  const { figures } = await short("pairs");
  expect(figures["second processes refused"]).toBe(2);
});
