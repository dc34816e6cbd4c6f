import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  atEnd,
  type Claim,
  exceeds,
  type ReplicationProgress,
  replicate,
} from "../../src/index.js";
import { temporaryFolder } from "../folders.js";
import { shortTask } from "../trainer/runs.js";

const accuracy = atEnd("eval/accuracy");

/** A claim whose runs take milliseconds: a rate of 0 leaves the policy as it was. */
const still: Claim = {
  id: "still",
  claim: "A policy that does not move ends no better than one that does not move",
  baseline: "the same under another name",
  task: shortTask,
  settings: {
    ...{ steps: 2, promptsPerStep: 2, numGenerations: 2, minibatchSize: 4 },
    ...{ evalSamples: 2, evalSteps: 1, learningRate: 0 },
  },
  arms: [
    { name: "still", system: "grpo" },
    { name: "other", system: "dr-grpo" },
    { name: "moving", system: "grpo", settings: { learningRate: 1e-3 } },
  ],
  measure: accuracy,
  reported: [atEnd("num_tokens", "lower")],
  judge: exceeds({ arm: "still", baselines: ["other"], measure: accuracy, by: 0.01 }),
};

const cpu = { device: "cpu" } as const;
const temporary = () => readdirSync(tmpdir()).filter((name) => name.startsWith("firesteel-replic"));

describe("a replication", () => {
  test("starts all arms of a seed from one warm start and reports them as they come", async () => {
    const before = temporary();
    const progress: ReplicationProgress[] = [];
    const told: string[] = [];
    const [result, ...others] = await replicate([still], {
      ...{ ...cpu, seeds: 2 },
      onProgress: (now) => progress.push(now),
      onResult: ({ id }) => told.push(id),
    });
    expect(others).toEqual([]);
    expect(told).toEqual(["still"]);
    expect(Object.keys(result!)).toEqual([
      ...["id", "claim", "baseline", "measure", "system", "baselineValues", "interval", "shown"],
      ...["seconds", "reported"],
    ]);
    // Arms that do not move sample the same from the same weights: the difference is exactly 0.
    expect(result).toMatchObject({
      ...{ id: "still", measure: "eval/accuracy at the end (higher is better)" },
      ...{ interval: [0, 0], shown: "no" },
    });
    expect(result!.system).toEqual(result!.baselineValues);
    const { arms, curves, comparisons } = result!.reported;
    expect(Object.keys(arms)).toEqual(["still", "other", "moving"]);
    expect(arms.still!["eval/accuracy at the end"]).toEqual(result!.system);
    expect(arms.moving!["num_tokens at the end"]).toHaveLength(2);
    expect(curves.moving!.step).toEqual([0, 1, 2]);
    expect(curves.moving!["eval/accuracy"]![0]).toBe(curves.still!["eval/accuracy"]![0]);
    expect(comparisons).toHaveLength(1);
    const warm = progress.filter(({ stage }) => stage === "warm start");
    expect(new Set(warm.map(({ arm, seed }) => `${arm} ${seed}`))).toEqual(
      new Set(["still 1", "still 2"]),
    );
    expect(progress.at(-1)).toMatchObject({ arm: "moving", seed: 2, done: 5, runs: 6, step: 2 });
    expect(temporary()).toEqual(before);
  });

  test("takes up finished runs that lie in its folder, and says when one is damaged", async () => {
    const out = join(await temporaryFolder(), "kept");
    const [first] = await replicate([still], { ...cpu, seeds: 1, out });
    let steps = 0;
    const onProgress = () => ++steps;
    const [again] = await replicate([still], { ...cpu, seeds: 1, out, onProgress });
    expect(steps).toBe(0);
    expect({ ...again, seconds: 0 }).toEqual({ ...first, seconds: 0 });
    const changed = { ...still, settings: { ...still.settings, steps: 1 } };
    await replicate([changed], { ...cpu, seeds: 1, out, onProgress });
    expect(steps).toBeGreaterThan(0);
    const runs = readdirSync(join(out, "runs")).map((name) => join(out, "runs", name));
    for (const path of runs) writeFileSync(path, readFileSync(path, "utf8").slice(0, 20));
    await expect(replicate([still], { ...cpu, seeds: 1, out })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(/finished run in .* remove it/),
    });
  });

  test("stops on its signal, and goes on from the runs that were done", async () => {
    const out = join(await temporaryFolder(), "stopped");
    const stop = new AbortController();
    const onProgress = ({ done }: ReplicationProgress) => done === 2 && stop.abort();
    await expect(
      replicate([still], { ...cpu, seeds: 1, out, signal: stop.signal, onProgress }),
    ).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(readdirSync(join(out, "runs"))).toHaveLength(2);
    const arms: string[] = [];
    await replicate([still], {
      ...{ ...cpu, seeds: 1, out },
      onProgress: ({ arm }) => arms.push(arm),
    });
    expect(new Set(arms)).toEqual(new Set(["moving"]));
  });

  test("refuses what it does not know before anything runs", async () => {
    const out = join(await temporaryFolder(), "never");
    const wrong = { code: "ERR_OPTION" };
    await expect(replicate(["dpao"], { out })).rejects.toMatchObject({
      ...wrong,
      message: expect.stringMatching(/received "dpao" \(did you mean "dapo"\?\)/),
    });
    await expect(replicate([still], { seeds: 0, out })).rejects.toMatchObject(wrong);
    await expect(replicate([still], { seed: 1 } as never)).rejects.toMatchObject({
      ...wrong,
      message: expect.stringMatching(/did you mean "seeds"/),
    });
    const misspelt = exceeds({ arm: "stil", baselines: ["other"], measure: accuracy, by: 0 });
    for (const change of [
      { judge: misspelt },
      { judge: () => [] },
      { settings: { ...still.settings, step: 3 } as object },
      { arms: [still.arms[0], still.arms[0]] as Claim["arms"] },
      { arms: [{ name: "a", system: "gpro" }] as Claim["arms"] },
    ]) {
      await expect(replicate([{ ...still, ...change }], { out })).rejects.toMatchObject(wrong);
    }
    expect(existsSync(out)).toBe(false);
    const file = join(await temporaryFolder(), "file");
    writeFileSync(file, "");
    await expect(replicate([still], { ...cpu, out: join(file, "x") })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
    });
  });
});
