import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  clippedValue,
  groupLoss,
  groupNormalize,
  klHinge,
  surrogate,
  teacherAdvantage,
} from "../../src/blocks/index.js";
import type { LossTerm } from "../../src/contract/index.js";
import {
  defineSystem,
  Engine,
  type FiresteelError,
  namedSystem,
  type ScoredRollout,
  type ScoreOptions,
  type ScoreSummary,
  scoreFile,
} from "../../src/index.js";

let folder: string;
let engine: Engine;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "firesteel-score-"));
  engine = new Engine({ device: "cpu" });
});
afterAll(() => {
  engine.dispose();
  rmSync(folder, { recursive: true });
});

let files = 0;
function fileOf(lines: readonly (object | string)[]): string {
  const path = join(folder, `${files++}.jsonl`);
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  writeFileSync(path, `${text.join("\n")}\n`);
  return path;
}

async function scored(
  lines: readonly (object | string)[],
  options: Partial<ScoreOptions> = {},
): Promise<{ rows: ScoredRollout[]; summary: ScoreSummary }> {
  const rows: ScoredRollout[] = [];
  const system = options.system ?? namedSystem("grpo");
  const results = scoreFile(engine, fileOf(lines), { ...options, system });
  for (;;) {
    const next = await results.next();
    if (next.done) return { rows, summary: next.value };
    rows.push(next.value);
  }
}

const rollout = (group: string | number, reward: number | null, logProbs: number[], more = {}) => ({
  group,
  reward,
  logProbs,
  oldLogProbs: logProbs.map((x) => x - 0.1),
  ...more,
});

describe("advantages, losses and gradients", () => {
  const lines = [
    rollout("a", 1, [-0.5, -1, -0.25], { mask: [1, 0, 1], id: "first" }),
    rollout("b", 0.5, [-1.5]),
    rollout("a", 0, [-0.3, -0.7]),
    rollout("b", 0.5, []),
  ];

  test("are those of one optimiser step over the file", async () => {
    const { rows, summary } = await scored(lines, { gradients: true });
    // Rewards 1 and 0: mean 1/2, sample std sqrt(1/2). Ratios are exp(0.1), inside the clip range.
    const advantage = 0.5 / (Math.SQRT1_2 + 1e-4);
    const ratio = Math.exp(0.1);
    expect(rows.map(({ line, id, group }) => [line, id, group])).toEqual([
      [1, "first", "a"],
      [2, null, "b"],
      [3, null, "a"],
      [4, null, "b"],
    ]);
    expect(rows.map((row) => row.advantage)).toEqual([
      expect.closeTo(advantage, 6),
      0,
      expect.closeTo(-advantage, 6),
      0,
    ]);
    // seq-mean-token-mean over all four rows: TRL counts one without tokens too.
    expect(rows[0]!.loss).toBeCloseTo((-advantage * ratio) / 4, 6);
    expect(rows[0]!.dLogProb).toEqual([
      expect.closeTo((-advantage * ratio) / 8, 6),
      0,
      expect.closeTo((-advantage * ratio) / 8, 6),
    ]);
    expect(rows[2]!.loss).toBeCloseTo((advantage * ratio) / 4, 6);
    expect(rows[3]).toMatchObject({ loss: 0, dLogProb: [], dropped: false, weight: null });
    expect(summary).toMatchObject({ rollouts: 4, groups: 2, dropped: 0, badLines: 0 });
    expect(summary.loss).toBeCloseTo(0, 6);
    expect(summary.metrics.frac_reward_zero_std).toBe(0.5);
  });

  test("do not depend on where in the file a rollout stands", async () => {
    const many = Array.from({ length: 300 }, (_, i) =>
      rollout(i % 37, (i * 7) % 5, [-0.1 * (i % 9), -0.5 - (i % 4)]),
    );
    const straight = await scored(many, { gradients: true });
    const backwards = await scored([...many].reverse(), { gradients: true });
    const byLine = backwards.rows.reverse().map((row, i) => ({ ...row, line: i + 1 }));
    for (const [i, row] of straight.rows.entries()) {
      expect(byLine[i]!.advantage).toBeCloseTo(row.advantage as number, 5);
      expect(byLine[i]!.loss).toBeCloseTo(row.loss!, 6);
    }
    expect(backwards.summary.loss).toBeCloseTo(straight.summary.loss, 8);
  });

  test("gradients only when asked for; rows a system drops say so", async () => {
    const three = [1, 0.5, 0].map((reward) => rollout("q", reward, [-1]));
    const { rows, summary } = await scored(three, { system: namedSystem("mc-grpo") });
    expect(rows.map((row) => row.dropped)).toEqual([false, true, false]);
    expect(rows[1]).toMatchObject({ advantage: null, loss: 0 });
    expect(rows[0]).not.toHaveProperty("dLogProb");
    expect(summary.dropped).toBe(1);
    const { rows: again } = await scored(three, {
      system: namedSystem("mc-grpo"),
      gradients: true,
    });
    expect(again[1]!.dLogProb).toEqual([0]);
  });

  test("named rewards are weighted by the system, null leaves the statistics", async () => {
    const named = (accuracy: number | null, format: number) => {
      const { reward, ...rest } = rollout("q", 0, [-1]);
      return { ...rest, rewards: { accuracy, format } };
    };
    const { rows, summary } = await scored([
      named(1, 0.5),
      named(0, 0.5),
      rollout("q", null, [-2]),
    ]);
    expect(rows.map((row) => row.reward)).toEqual([1.5, 0.5, null]);
    expect(rows[2]!.advantage).toBe(0);
    expect(summary.metrics["rewards/accuracy/mean"]).toBe(0.5);
  });

  test("a KL to the reference reads refLogProbs", async () => {
    const system = defineSystem({
      id: "kl",
      title: "KL",
      arxiv: null,
      evidence: "low",
      advantage: groupNormalize(),
      loss: [surrogate({ beta: 0.5, klEstimator: "k1" })],
    });
    const equal = { refLogProbs: [-2] };
    const { rows } = await scored([rollout("q", 1, [-1], equal), rollout("q", 1, [-3], equal)], {
      system,
    });
    expect(rows.map((row) => row.loss)).toEqual([0.25, -0.25]);
    await expect(scored([rollout("q", 1, [-1])], { system })).rejects.toThrow(
      /line 1: Expected refLogProbs .* but received none/,
    );
  });
});

describe("lines that cannot be used", () => {
  const good = rollout("q", 1, [-1]);
  test.each<[string, object | string, RegExp]>([
    ["not JSON", '{"group": 1,', /line 2: Expected JSON but /],
    ["Python's NaN", '{"group": 1, "reward": NaN}', /line 2: Expected JSON but /],
    ["not an object", "[1]", /line 2: Expected an object but received an array of 1/],
    ["no group", { ...good, group: undefined }, /line 2: Expected a string or a number for group/],
    ["no reward", { ...good, reward: undefined }, /either reward or rewards but received neither/],
    ["two rewards", { ...good, rewards: {} }, /either reward or rewards but received both/],
    ["a reward in words", { ...good, reward: "1" }, /a number or null for reward but received "1"/],
    [
      "a named reward in words",
      { ...good, reward: undefined, rewards: { a: true } },
      /a number or null for rewards\.a but received true/,
    ],
    ["no old policy", { ...good, oldLogProbs: undefined }, /array of numbers for oldLogProbs/],
    [
      "a null log-prob",
      { ...good, logProbs: [null] },
      /a number for logProbs\[0\] but received null/,
    ],
    [
      "another length",
      { ...good, oldLogProbs: [-1, -2] },
      /Expected 1 values, as in logProbs, for oldLogProbs but received 2/,
    ],
    ["a mask of 2", { ...good, mask: [2] }, /0 or 1 for mask\[0\] but received 2/],
    ["a mask too long", { ...good, mask: [1, 1] }, /Expected 1 values, as in logProbs, for mask/],
    [
      "an unknown end",
      { ...good, finish: "eos" },
      /one of "stop", .* for finish but received "eos"/,
    ],
  ])("%s", async (_, line, message) => {
    await expect(scored([good, line])).rejects.toThrow(message);
    const bad: string[] = [];
    const { rows, summary } = await scored([good, line, "", good], {
      onBadLine: (error: FiresteelError) => bad.push(error.message),
    });
    expect(rows.map((row) => row.line)).toEqual([1, 4]);
    expect(summary.badLines).toBe(1);
    expect(bad).toEqual([expect.stringMatching(message)]);
  });

  test("all are named at once, up to twenty", async () => {
    const lines = Array.from({ length: 30 }, () => "x");
    const error = (await scored(lines).catch((e: unknown) => e)) as FiresteelError;
    expect(error.code).toBe("ERR_RANGE");
    expect(error.message).toMatch(
      /30 unusable lines\nline 1: .*\n(.*\n)*line 20: .*\n\.\.\. and 10 more$/,
    );
  });

  test("a file that is missing, a folder, an empty file", async () => {
    const read = (path: string) => scoreFile(engine, path, { system: namedSystem("grpo") }).next();
    await expect(read(join(folder, "none"))).rejects.toMatchObject({ code: "ERR_OPTION" });
    await expect(read(folder)).rejects.toMatchObject({ code: "ERR_OPTION" });
    const { summary } = await scored([]);
    expect(summary).toMatchObject({ rollouts: 0, loss: 0 });
    expect(summary.metrics.reward).toBeNull();
  });
});

describe("losses that couple the rows of a group", () => {
  const flat = {
    id: "flat",
    title: "Flat",
    arxiv: null,
    evidence: "low",
    advantage: groupNormalize(),
  } as const;
  const inner = surrogate();
  const system = defineSystem({
    id: "coupled",
    title: "Coupled",
    arxiv: null,
    evidence: "low",
    advantage: groupNormalize(),
    loss: [{ ...inner, coupling: "group" }],
  });
  const of = (groups: string) => [...groups].map((g, i) => rollout(g, i, [-1 - i, -0.5]));

  test("see a group at once, and its rows add up as without coupling", async () => {
    const coupled = await scored(of("aabbbc"), { system, gradients: true });
    const plain = await scored(of("aabbbc"), {
      system: defineSystem({ ...flat, loss: [inner] }),
      gradients: true,
    });
    expect(coupled.rows.map((row) => row.dLogProb)).toEqual(plain.rows.map((row) => row.dLogProb));
    expect(coupled.rows[0]!.loss).toBeNull();
    expect(coupled.summary.loss).toBeCloseTo(plain.summary.loss, 12);
  });

  test("need its rollouts in adjacent lines", async () => {
    await expect(scored(of("aba"), { system })).rejects.toThrow(
      /line 3: Expected the rollouts of group a in adjacent lines/,
    );
  });

  const withLoss = (loss: LossTerm, more: object = {}) =>
    defineSystem({ ...flat, ...more, loss: [loss] });

  test("are divided by the groups of the whole file", async () => {
    const rollouts = [..."aabb"].map((g, i) => rollout(g, i % 2, [-1 - 0.3 * i, -0.5]));
    const { summary } = await scored(rollouts, { system: withLoss(groupLoss({ kind: "disco" })) });
    const groups = [rollouts.slice(0, 2), rollouts.slice(2)];
    const alone = await Promise.all(
      groups.map((own) => scored(own, { system: withLoss(groupLoss({ kind: "disco" })) })),
    );
    const mean = alone.reduce((sum, { summary: { loss } }) => sum + loss / 2, 0);
    expect(summary.loss).toBeCloseTo(mean, 12);
  });

  test.each<[string, LossTerm, object, RegExp]>([
    ["pairs", groupLoss({ kind: "dpo" }), {}, /groupLoss of flat compares pairs/],
    ["sums over the step", klHinge(), {}, /klHinge of flat reads the whole file at once/],
    ["values", clippedValue(), {}, /clippedValue of flat reads values or logits/],
    [
      "a teacher",
      inner,
      { advantage: teacherAdvantage(), models: { teacher: { from: "given", trained: false } } },
      /teacherAdvantage of flat asks the model "teacher"/,
    ],
  ])("are refused where they need %s", async (_, loss, more, message) => {
    await expect(scored([], { system: withLoss(loss, more) })).rejects.toThrow(message);
  });
});

test("a system that adds a reward of its own is told what it lacks, not that the reward is there", async () => {
  const path = fileOf([{ group: 0, reward: 1, logProbs: [-1], oldLogProbs: [-1] }]);
  await expect(scoreFile(engine, path, { system: namedSystem("dapo") }).next()).rejects.toThrow(
    "overlongPenalty.maxLength",
  );
});

test("a signal ends it before and between results", async () => {
  const line = { group: 0, reward: 1, logProbs: [-1], oldLogProbs: [-1] };
  const path = fileOf(new Array(200).fill(line));
  const controller = new AbortController();
  const { signal } = controller;
  const results = scoreFile(engine, path, { system: namedSystem("grpo"), signal });
  expect((await results.next()).value).toMatchObject({ line: 1 });
  controller.abort("enough");
  const rest = async () => {
    for await (const _ of results);
  };
  await expect(rest()).rejects.toMatchObject({ code: "ERR_ABORTED" });
  const again = scoreFile(engine, path, { system: namedSystem("grpo"), signal });
  await expect(again.next()).rejects.toMatchObject({ code: "ERR_ABORTED" });
  const wrong = { system: namedSystem("grpo"), signal: {} as AbortSignal };
  await expect(scoreFile(engine, path, wrong).next()).rejects.toMatchObject({ code: "ERR_OPTION" });
});

test("a system that asks the policy is refused", async () => {
  const probe = { block: "belief", options: [], run: () => [] };
  const system = defineSystem({
    id: "probing",
    title: "Probing",
    arxiv: null,
    evidence: "low",
    probe: [probe],
    advantage: groupNormalize(),
    loss: [surrogate()],
  });
  await expect(scored([], { system })).rejects.toThrow(/belief of probing asks the policy/);
});

test.each<[string, RegExp]>([
  ["rloo", /klPenalty of rloo asks the model "reference"/],
  ["dr-grpo", /maxCompletionLength is not known\) for surrogate.horizon/],
])("%s is refused: a file does not have what it needs", async (id, message) => {
  await expect(scored([], { system: namedSystem(id) })).rejects.toThrow(message);
});
