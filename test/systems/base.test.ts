import { afterAll, describe, expect, test } from "vitest";
import type {
  Column,
  Group,
  LossBatch,
  StepContext,
  System,
  Trajectory,
} from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { concatenate, offsetsOf } from "../../src/engine/ragged.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { systems } from "../../src/systems/index.js";
import { lossScale } from "../../src/trainer/minibatches.js";
import { trainingGroups } from "../../src/trainer/phase.js";
import { systemBlocks } from "../../src/trainer/printSystem.js";
import { rolloutOf } from "../blocks/trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

/** Rows of several lengths, whose policy has moved: ratios beyond every clip, on both sides. */
const rows: { advantage: number; old: number[]; now: number[]; masked?: true }[] = [
  { advantage: 1.25, old: [-1, -0.75, -2], now: [-0.5, -0.875, -2.5] },
  { advantage: -0.75, old: [-0.5, -1.5], now: [-0.125, -2.25] },
  { advantage: 0.5, old: [-1.25, -0.25, -1, -1.5], now: [-1.249, -0.251, -0.9995, -1.5] },
  { advantage: -1, old: [-2], now: [-1.75] },
  { advantage: -0.25, old: [-1, -1.5], now: [-1.0001, -1.4998] },
  // Counts among the rows, as in TRL, and not among the tokens; what it holds reaches nothing.
  { advantage: 2, old: [-1, Number.NaN], now: [-0.25, Number.POSITIVE_INFINITY], masked: true },
];
const tokens = rows.reduce((sum, { old, masked }) => sum + (masked ? 0 : old.length), 0);
const maxCompletionLength = 8;

function batchOf(trajectories: readonly Trajectory[]): LossBatch {
  const groupOffsets = offsetsOf(rows.map(() => 1));
  return {
    engine,
    rows: trajectories,
    groupOffsets,
    rowOffsets: offsetsOf(rows.map(({ old }) => old.length)),
    mask: concatenate(
      Uint8Array,
      trajectories.map(({ mask }) => mask),
    ),
    logProb: engine.tensor(Float32Array.from(rows.flatMap(({ now }) => now))),
    ...{ entropy: null, value: null, logits: null, modelLogits: {}, temperature: 1 },
    oldLogProb: Float32Array.from(rows.flatMap(({ old }) => old)),
    modelLogProb: {},
    scale: lossScale({ rows: trajectories, groupOffsets }),
    maxCompletionLength,
    step: 1,
  };
}

/** d loss / d log-prob of a recipe, one number a token. */
function gradientOf(system: System, trajectories: readonly Trajectory[]): number[] {
  const [term, ...others] = system.phases[0]!.loss;
  expect(others).toEqual([]);
  const { dLogProb } = term!.evaluate(batchOf(trajectories));
  return [...(dLogProb as Tensor).readSync()];
}

/** A rollout as long as a row, masked where it is. */
function rolloutLike(i: number, reward: number, advantage?: Column): Trajectory {
  const { old, masked } = rows[i]!;
  const columns: Record<string, Column> = advantage === undefined ? {} : { advantage };
  const t = rolloutOf(reward, { id: i, length: old.length, columns });
  return masked ? { ...t, mask: new Uint8Array(old.length) } : t;
}

const withAdvantages = rows.map(({ advantage }, i) =>
  rolloutLike(i, 0, { level: "row", value: advantage }),
);

interface Row {
  a: number;
  /** Log-ratio of each token, their sum and number. */
  x: readonly number[];
  sum: number;
  length: number;
  p: readonly number[];
  old: readonly number[];
}
/** The papers' gradient of one token, times the number of rows (per row) or of tokens (per token). */
type Gradient = { per: "row" | "token"; of: (row: Row, t: number) => number };

const passes = (a: number, ratio: number, low: number, high: number) =>
  a >= 0 ? ratio <= 1 + high : ratio >= 1 - low;
const clip = (a: number, ratio: number, low: number, high: number) =>
  passes(a, ratio, low, high) ? -a * ratio : 0;
const sequence = (low: number, high: number) => (r: Row) =>
  clip(r.a, Math.exp(r.sum / r.length), low, high);
const token =
  (low = 0.2, high = 0.2) =>
  (r: Row, t: number) =>
    clip(r.a, Math.exp(r.x[t]!), low, high);
const clipped = (a: number, x: number) => (a > 0 ? Math.min(x, 0.4) : Math.max(x, -0.4));

const gradients: Record<string, Gradient> = {
  grpo: { per: "row", of: (r, t) => token()(r, t) / r.length },
  "dr-grpo": { per: "row", of: (r, t) => token()(r, t) / maxCompletionLength },
  rloo: { per: "row", of: (r) => clip(r.a, Math.exp(r.sum), 0.2, 0.2) },
  "reinforce-pp": { per: "token", of: token() },
  "reinforce-pp-baseline": { per: "token", of: token() },
  dapo: { per: "token", of: token(0.2, 0.28) },
  gspo: { per: "row", of: (r) => sequence(3e-4, 4e-4)(r) / r.length },
  "gspo-token": { per: "row", of: (r) => sequence(3e-4, 4e-4)(r) / r.length },
  cispo: { per: "token", of: (r, t) => -Math.min(Math.exp(r.x[t]!), 5) * r.a },
  sapo: {
    per: "row",
    of(r, t) {
      const ratio = Math.exp(r.x[t]!);
      const gate = 1 / (1 + Math.exp(-(r.a > 0 ? 1 : 1.05) * (ratio - 1)));
      return (-r.a * ratio * 4 * gate * (1 - gate)) / r.length;
    },
  },
  gmpo: {
    per: "row",
    of(r, t) {
      if (clipped(r.a, r.x[t]!) !== r.x[t]) return 0;
      const mean = r.x.reduce((sum, x) => sum + clipped(r.a, x), 0) / r.length;
      return (-r.a * Math.exp(mean)) / r.length;
    },
  },
  luspo: { per: "row", of: sequence(2e-3, 2.5e-3) },
  "dppo-tv": {
    per: "token",
    of(r, t) {
      const moved = r.p[t]! - r.old[t]!;
      return (r.a > 0 ? moved <= 0.15 : moved >= -0.15) ? -r.a * Math.exp(r.x[t]!) : 0;
    },
  },
  vespo: {
    per: "token",
    of(r) {
      const [k, lambda] = r.a >= 0 ? [2, 3] : [3, 2];
      return -r.a * Math.exp(lambda + k * r.sum - lambda * Math.exp(r.sum));
    },
  },
  gpg: { per: "token", of: (r) => -r.a },
};

describe("each recipe's loss is its paper's, on rows whose ratios have moved", () => {
  test.each(Object.keys(gradients))("%s", (id) => {
    const { per, of } = gradients[id]!;
    const expected = rows.flatMap(({ advantage: a, old, now, masked }) => {
      if (masked) return old.map(() => 0);
      const x = now.map((lp, t) => lp - old[t]!);
      const row: Row = {
        ...{ a, x, length: x.length, sum: x.reduce((p, q) => p + q, 0) },
        ...{ p: now.map(Math.exp), old: old.map(Math.exp) },
      };
      return x.map((_, t) => of(row, t) / (per === "row" ? rows.length : tokens));
    });
    const got = gradientOf(systems[id]!, withAdvantages);
    expect(expected.filter((g) => g !== 0).length).toBeGreaterThan(2);
    // float32 log-probs differ from the float64 ones by 1e-7, and the clip of 3e-4 is not met that close.
    for (const [t, want] of expected.entries()) {
      expect(Math.abs(got[t]! - want)).toBeLessThan(1e-6 + 1e-5 * Math.abs(want));
    }
  });
});

/** From rewards to the gradient: two groups of unequal rewards, as a phase takes them. */
async function stepGradient(system: System): Promise<number[]> {
  const rewarded = [1, 0, 0.25, 0, 1, 0].map((reward, i) => rolloutLike(i, reward));
  const groups: Group[] = [rewarded.slice(0, 3), rewarded.slice(3)].map((trajectories, g) => ({
    key: `${g}`,
    prompt: trajectories[0]!.prompt,
    trajectories,
  }));
  const ctx = {
    engine,
    measure: () => {},
    rewards: { correct: () => [] },
  } as unknown as StepContext;
  const trained = await trainingGroups(system.phases[0]!, groups, ctx);
  return gradientOf(
    system,
    trained.flatMap((group) => group.trajectories),
  );
}

describe("no two recipes are the same under different names", () => {
  const recipes = Object.keys(gradients).map((id) => systems[id]!);

  test("their blocks differ", () => {
    const printed = recipes.map((system) => JSON.stringify(systemBlocks(system)));
    expect(new Set(printed).size).toBe(recipes.length);
  });

  test("so do their steps; gspo-token is gspo where a row has one advantage", async () => {
    const steps = new Map<string, number[]>();
    for (const system of recipes) steps.set(system.id, await stepGradient(system));
    const distance = (a: string, b: string) =>
      Math.max(...steps.get(a)!.map((value, t) => Math.abs(value - steps.get(b)![t]!)));
    const same: string[] = [];
    for (const [i, { id: a }] of recipes.entries()) {
      for (const { id: b } of recipes.slice(i + 1))
        if (distance(a, b) < 1e-4) same.push(`${a} ${b}`);
    }
    expect(same).toEqual(["gspo gspo-token"]);
  });

  test("gspo-token takes advantages that differ within a row, gspo refuses them", () => {
    const parted = rows.map(({ old }, i) =>
      rolloutLike(i, 0, { level: "action", values: Float32Array.from(old, (_, t) => 1 - t) }),
    );
    expect(gradientOf(systems["gspo-token"]!, parted)).toHaveLength(tokens + 2);
    expect(() => gradientOf(systems.gspo!, parted)).toThrow(/share one ratio and one advantage/);
  });
});

test("every base recipe says where it comes from", () => {
  for (const id of Object.keys(gradients)) {
    const { title, arxiv, policy, task } = systems[id]!;
    expect(title.length).toBeGreaterThan(10);
    expect(arxiv).toMatch(/^\d{4}\.\d{5}$/);
    expect([policy, task]).toEqual(["tokens", "arithmetic"]);
  }
});
