import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { LossTerm, System, Trajectory, Weighting } from "../../src/contract/index.js";
import { engineOf } from "../../src/engine/device.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { train } from "../../src/train.js";
import { notANumber } from "../../src/trainer/notANumber.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

/** The surrogate, and a term that gives `loss` and `gradient` for one rollout of step 2. */
function systemWith(loss: number, gradient: number, weight?: Weighting): System {
  const broken: LossTerm = {
    block: "broken",
    options: [],
    coupling: "token",
    models: [],
    entropy: false,
    columns: [],
    evaluate(batch) {
      const engine = engineOf(batch.engine);
      const row = batch.step === 2 ? batch.rows.findIndex(({ id }) => id === 3) : -1;
      const d = new Float32Array(batch.mask.length);
      if (row !== -1) d[batch.rowOffsets[row]!] = gradient;
      return {
        loss: engine.tensor(Float64Array.of(row === -1 ? 0 : loss), [1]),
        dLogProb: engine.tensor(d),
        dEntropy: null,
        metrics: null,
        decode: () => ({}),
      };
    },
  };
  return defineSystem({
    ...{ id: "broken", title: "For a test", arxiv: null, evidence: "low" },
    advantage: groupNormalize(),
    weight,
    loss: [surrogate(), broken],
  });
}

const harmless = systemWith(0, 0);
// In one update with all rollouts, so that the first update of the step is the one that fails.
const options = { ...small, minibatchSize: 16 };

async function linesOf(path: string): Promise<Record<string, never>[]> {
  const text = await readFile(path, "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("an update that is not finite is not taken", () => {
  test.each([
    ["loss", Number.NaN, 0, /the loss broken of row (\d+) is NaN/],
    ["gradient", 0, Number.POSITIVE_INFINITY, /the gradient of row (\d+) has norm (NaN|Infinity)/],
  ] as const)(
    "a %s: the batch is kept, the last checkpoint goes on",
    async (_, loss, gradient, cause) => {
      const whole = join(await temporaryFolder(), "whole");
      await train({ ...options, system: harmless, out: whole });
      const out = join(await temporaryFolder(), "run");
      const run = train({ ...options, system: systemWith(loss, gradient), out });
      const folder = join(out, "failed-step-2");
      const error: Error = await run.then(
        () => expect.fail("went on"),
        (reason) => reason,
      );
      expect(error).toMatchObject({ code: "ERR_RANGE", message: cause });
      expect(error.message).toContain(
        `its batch lies in ${folder}, and the last checkpoint stands`,
      );
      expect(await readdir(folder)).toEqual(["rollouts.jsonl", "state.json"]);

      const [state] = await linesOf(join(folder, "state.json"));
      expect(state).toMatchObject({ step: 2, phase: "policy", learningRate: 2e-4, temperature: 1 });
      expect(state).toHaveProperty("loss", Number.isNaN(loss) ? "NaN" : expect.any(Number));
      const rows = await linesOf(join(folder, "rollouts.jsonl"));
      expect(rows).toHaveLength(16);
      const guilty = Number(cause.exec(error.message)![1]);
      expect(rows[guilty]).toMatchObject({ row: guilty, id: 3 });
      for (const row of rows as Record<string, unknown>[]) {
        const { actions, mask, columns, oldLogProb, logProb } = row as never as {
          actions: { ids: number[] };
          mask: number[];
          columns: Record<string, unknown>;
          oldLogProb: number[];
          logProb: number[];
        };
        expect(mask).toHaveLength(actions.ids.length);
        // Nothing has been learned in this step: the weights are those of the sampler.
        expect(logProb).toEqual(oldLogProb);
        expect(logProb).toEqual(columns.samplerLogProb);
        expect(columns.advantage).toEqual(expect.any(Number));
      }

      await train({ resume: out, system: harmless, task: small.task });
      expect(weightsOf(out, 4)).toEqual(weightsOf(whole, 4));
      expect(await metricsOf(out)).toEqual(await metricsOf(whole));
    },
  );

  test.each([
    ["advantage", 1],
    // Not what the loss reads, but seen where the loss is not finite.
    ["bonus", 2],
  ])("a value that is not a number is named with its row: %s", async (name, step) => {
    const spoil: Weighting = {
      block: "spoil",
      options: [],
      run: (groups) =>
        groups.map((group) => ({
          ...group,
          trajectories: group.trajectories.map((t) => {
            const column = { level: "row", value: t.id === 5 ? Number.NaN : 1 } as const;
            return { ...t, columns: { ...t.columns, [name]: column } };
          }),
        })),
    };
    const out = join(await temporaryFolder(), "run");
    await expect(
      train({ ...options, system: systemWith(Number.NaN, 0, spoil), out }),
    ).rejects.toMatchObject({
      code: "ERR_RANGE",
      message: new RegExp(`in step ${step} but .*\\(${name} of row \\d+ is NaN at 0\\); its batch`),
    });
    expect(await readdir(out)).toContain(`checkpoint-${step - 1}`);
  });

  test("what belongs to masked actions may be anything", () => {
    const row = (mask: number[], columns: Trajectory["columns"]) =>
      ({ mask: Uint8Array.from(mask), columns }) as unknown as Trajectory;
    const values = Float32Array.of(1, Number.NaN, 3);
    const bounds = Int32Array.of(0, 1, 2, 3);
    const columns: Trajectory["columns"][] = [
      { a: { level: "action", values } },
      { a: { level: "segment", values, bounds } },
      { a: { level: "row", value: Number.NaN } },
    ];
    for (const own of columns) {
      const of = (mask: number[]) => {
        const rows = [row(mask, own)];
        return notANumber(rows, new Map([[rows[0]!, {}]]));
      };
      expect(of([1, 1, 1])).toMatch(/^a of row 0 is NaN at [01]$/);
      expect(of([0, 0, 0])).toBeNull();
      if (own !== columns[2]) expect(of([1, 0, 1])).toBeNull();
    }
  });

  test("a warm start that has lost its way says so", async () => {
    const warmStart = shortTask.warmStart.map((stage) => ({
      ...stage,
      steps: 20,
      learningRate: [{ step: 0, rate: 1e10 }],
    }));
    const run = train({ ...options, task: { ...shortTask, warmStart } });
    await expect(run).rejects.toMatchObject({
      code: "ERR_RANGE",
      message: expect.stringMatching(
        /finite loss in step \d+ of the warm start \(\w+\) but it is NaN/,
      ),
    });
  });

  test("without a folder the error alone says it", async () => {
    const run = train({ ...options, system: systemWith(Number.NaN, 0) });
    await expect(run).rejects.toThrow(/the loss broken of row \d+ is NaN\)$/);
    expect(existsSync("failed-step-2")).toBe(false);
  });
});
