import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../folders.js";
import { linesOf, run, start } from "./processes.js";

const folder = join(import.meta.dirname, "..", "..", "examples");

/** The number after `before`, in the only line that has it. */
function numberAfter(lines: readonly string[], before: string): number {
  const found = lines.filter((line) => line.includes(before));
  expect(found, lines.join("\n")).toHaveLength(1);
  return Number.parseFloat(found[0]!.split(before)[1]!);
}

test("a system in one file learns, and prints the block that it brought", async () => {
  const lines = await run("custom-system.mjs");
  expect(lines).toContain("  advantage  rankAdvantage");
  expect(lines).toContain("      scale  1.5  largest advantage");
  const before = numberAfter(lines, "right answers: ");
  const after = numberAfter(lines, " before, ");
  expect(before).toBeLessThan(0.7);
  expect(after).toBeGreaterThan(0.9);
});

test("a reward of one's own is learned, what is late is counted, and the callback ends the run", async () => {
  const lines = await run("custom-reward.mjs");
  const steps = lines.filter((line) => line.startsWith("step "));
  const formats = steps.map((line) => numberAfter([line], "format "));
  expect(formats[0]).toBeLessThan(0.2);
  expect(formats.at(-1)).toBeGreaterThan(0.9);
  // Every fiftieth call does not answer; a step has 64.
  for (const line of steps) expect(numberAfter([line], ", ")).toBeGreaterThan(1.5);
  expect(lines.at(-1)).toBe("stopped by: callback");
});

test("a policy of one's own learns from nothing", async () => {
  const lines = await run("custom-policy.mjs");
  const accuracies = lines
    .filter((line) => line.startsWith("step "))
    .map((line) => Number(line.split(" ")[2]));
  expect(accuracies[0]).toBeLessThan(0.2);
  expect(accuracies.at(-1)).toBeGreaterThan(0.8);
});

test("a policy of one's own goes on from its checkpoint as if it had never stopped", async () => {
  const parent = await temporaryFolder();
  const weights = (out: string) =>
    readFileSync(join(parent, out, "checkpoint-40", "policy", "model.safetensors"));
  await run("custom-policy.mjs", join(parent, "twice"), "20");
  await run("custom-policy.mjs", join(parent, "twice"), "40");
  await run("custom-policy.mjs", join(parent, "once"), "40");
  expect(weights("twice").equals(weights("once"))).toBe(true);
});

test("a worker scores while the main thread goes on, and ends when it is told to", async () => {
  const lines = await run("worker.mjs");
  expect(lines[0]).toMatch(/^100 batches scored; mean entropy 7\.[0-9]+ nats$/);
  expect(numberAfter(lines, "a timer of 1 ms in the main thread fired ")).toBeGreaterThan(0);
  expect(lines[2]).toMatch(/^[1-9]\d* of 100 batches unanswered: the worker ended with code 1$/);
});

test("rollouts of TRL get the advantages that TRL gave them", async () => {
  const [head, ...rows] = await run("score-trl.mjs");
  expect(head).toMatch(/^prompt and completion +TRL +grpo +no-scale$/);
  const loss = rows.pop()!;
  expect(rows).toHaveLength(12);
  for (const row of rows) {
    const [trl, grpo] = row.match(/-?\d+\.\d{3}/g)!;
    expect(grpo, row).toBe(trl);
  }
  expect(loss).toMatch(/^loss +-?[0-9.]+ +-?[0-9.]+$/);
});

test("a service scores what is posted, refuses what it cannot, and drops the work of clients that leave", async () => {
  process.env.MAX_BYTES = "20000";
  const service = start("http-scoring.mjs", "0");
  try {
    const lines = linesOf(service);
    const { value } = await lines.next();
    const url = new URL(/http:\S+/.exec(value)![0]);
    const post = async (query: string, body: string) => {
      const response = await fetch(`${url}?${query}`, { method: "POST", body });
      return { status: response.status, text: await response.text() };
    };
    const rollouts = readFileSync(join(folder, "rollouts.jsonl"), "utf8");

    const scored = await post("system=grpo&gradients=1", rollouts);
    expect(scored.status).toBe(200);
    const results = scored.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(results).toHaveLength(13);
    expect(results[0].dLogProb).toHaveLength(4);
    expect(results[12].summary).toMatchObject({ rollouts: 12, groups: 3 });

    const bad = await post("", '{"group":1}');
    expect(bad.status).toBe(400);
    expect(JSON.parse(bad.text).error.code).toBe("ERR_RANGE");
    const unknown = await post("system=grpoo", rollouts);
    expect(JSON.parse(unknown.text).error).toMatchObject({ code: "ERR_OPTION" });
    // Where the service keeps the body is its own affair.
    expect(JSON.parse(bad.text).error.message).toMatch(/^1 unusable/);
    expect((await post("", "x".repeat(20001))).status).toBe(413);
    const together = await Promise.all([post("gradients=1", rollouts), post("", rollouts)]);
    expect(together.map(({ status }) => status)).toEqual([200, 200]);

    // A client that goes before it has sent what it announced.
    const client = connect(Number(url.port), url.hostname);
    client.write(
      `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-length: 999\r\n\r\n{`,
    );
    client.on("error", () => {});
    await once(client, "ready");
    setTimeout(() => client.destroy(), 50);
    expect((await lines.next()).value).toBe("a client left: its work is dropped");
    expect((await post("", rollouts)).status).toBe(200);
    service.kill("SIGTERM");
    // Nobody else left: those who were answered did not.
    expect((await lines.next()).done).toBe(true);
  } finally {
    service.kill("SIGTERM");
    await once(service, "exit");
    delete process.env.MAX_BYTES;
  }
});

test("every example stands in the list with how to run it", () => {
  const list = readFileSync(join(folder, "README.md"), "utf8");
  for (const name of readdirSync(folder)) {
    if (name !== "README.md") expect(list, name).toContain(`(${name})`);
  }
});
