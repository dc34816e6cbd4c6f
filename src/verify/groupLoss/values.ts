import type { Engine } from "../../engine/engine.js";
import {
  type GroupLossOptions,
  groupLoss,
  groupLossMetrics,
} from "../../engine/kernels/groupLoss.js";
import {
  type GroupLossKind,
  groupLossTable,
  kindInputs,
  kindOptions,
  kinds,
  pairKinds,
} from "../../engine/kernels/groupLossTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import {
  type GroupLossSetting,
  type GroupLossValues,
  groupLoss as reference,
} from "../../reference/groupLoss.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { Random } from "../inputs.js";

const family = "group-loss";

export const kindNames = Object.keys(kinds) as GroupLossKind[];

/** Groups of a batch: empty, alone, in pairs, of 5, of 8 with ties, of many. */
const ragged = [0, 1, 2, 8, 5, 0, 16, 33, 1, 8, 4];
const pairs = Array.from({ length: 12 }, () => 2);

export interface Rows {
  score: Float64Array;
  groupOffsets: Int32Array;
  reward: Float32Array;
  lengths: Int32Array;
  advantage: Float32Array;
  valid: Uint8Array | null;
}

export interface RowsOptions {
  seed?: number;
  lengths?: readonly number[];
  /** Spread of the scores. */
  spread?: number;
  /** Added to every score. */
  shift?: number;
  masked?: boolean;
}

/** Rows with what every kind may need; `inputsOf` picks. */
export function rowsFor(kind: GroupLossKind, options: RowsOptions = {}): Rows {
  const random = new Random(options.seed ?? 1);
  const lengths = options.lengths ?? (pairKinds.includes(kind) ? pairs : ragged);
  const groupOffsets = offsetsOf(lengths);
  const rows = groupOffsets.at(-1)!;
  const { spread = 0.7, shift = 0 } = options;
  const score = Float64Array.from({ length: rows }, () => shift + spread * random.normal());
  const reward = Float32Array.from({ length: rows }, () => random.integer(2));
  const advantage = random.normals(rows);
  for (const [g, length] of lengths.entries()) {
    const [begin, end] = [groupOffsets[g]!, groupOffsets[g + 1]!];
    if (g % 7 === 3) score.fill(shift + 0.3, begin, begin + length / 2); // ties
    if (g % 7 === 4) reward[begin] = 0.5;
    if (g % 11 === 9) score.fill(shift - 0.1, begin, end);
    if (g % 11 === 10) {
      reward.fill(g % 2, begin, end); // nobody to compare with
      advantage.fill(0.25, begin, end);
    }
  }
  return {
    score,
    groupOffsets,
    reward,
    lengths: Int32Array.from({ length: rows }, () => 1 + random.integer(100)),
    advantage,
    valid: options.masked ? random.mask(rows) : null,
  };
}

/** A setting of a kind with its defaults. */
export function settingOf(
  kind: GroupLossKind,
  more: Omit<GroupLossSetting, "kind"> = {},
): GroupLossSetting {
  const length = kind === "drpo" ? { maxCompletionLength: 100 } : {};
  return { kind, ...kindOptions[kind], ...length, ...more };
}

export function call(engine: Engine, b: Rows, setting: GroupLossSetting) {
  const needed = kindInputs[setting.kind] as readonly ("reward" | "lengths" | "advantage")[];
  const inputs = Object.fromEntries(needed.map((name) => [name, b[name]]));
  const { score, groupOffsets, valid } = b;
  const options = setting as GroupLossOptions;
  const result = groupLoss(engine, { score, groupOffsets, valid, ...inputs }, options);
  const metrics = values(result.metrics);
  return {
    loss: values(result.loss)[0]!,
    groupLoss: values(result.groupLoss),
    dScore: values(result.dScore),
    bits: result.dScore.readSync() as Float64Array,
    metrics,
    metric: (name: (typeof groupLossMetrics)[number]) => metrics[groupLossMetrics.indexOf(name)]!,
  };
}

const relative = Object.fromEntries(groupLossTable.tolerances.map(({ of, cpu }) => [of, cpu]));

/** "Of the sum of absolute terms, times 1 + the largest exponent"; float64 ends at 1e-308. */
export function lossTolerance(want: GroupLossValues): (g: number) => number {
  return (g) => relative.loss! * want.lossMagnitude[g]! * want.condition[g]! + 1e-300;
}
export function slopeTolerance(b: Rows, want: GroupLossValues): (row: number) => number {
  const group = new Int32Array(b.score.length);
  for (let g = 0; g + 1 < b.groupOffsets.length; ++g) {
    group.fill(g, b.groupOffsets[g], b.groupOffsets[g + 1]);
  }
  return (row) =>
    relative["d score"]! * want.dScoreMagnitude[row]! * want.condition[group[row]!]! + 1e-300;
}

export function checkGroupLoss(engine: Engine, b: Rows, setting: GroupLossSetting): string | null {
  const got = call(engine, b, setting);
  const want = reference(b, setting);
  const denominator = setting.denominator ?? Math.max(want.count, 1);
  const allowed = lossTolerance(want);
  const total = want.lossMagnitude.reduce((sum, _, g) => sum + allowed(g), 0) / denominator;
  return firstOf(
    close("loss", [got.loss], [want.loss], total + 1e-300),
    close("groupLoss", got.groupLoss, want.groupLoss, allowed),
    close("dScore", got.dScore, want.dScore, slopeTolerance(b, want)),
    close("count", [got.metric("count")], [want.count], 0),
  );
}

/** Sides, sums and counts straight from their definitions. */
function checkMetrics(engine: Engine, b: Rows, setting: GroupLossSetting): string | null {
  const { kind } = setting;
  const binary = ["real", "real-product", "drpo", "disco"].includes(kind);
  const pair = pairKinds.includes(kind);
  const want = Object.fromEntries(groupLossMetrics.map((name) => [name, 0]));
  const add = (name: (typeof groupLossMetrics)[number], x: number) => {
    want[name]! += x;
  };
  for (let g = 0; g + 1 < b.groupOffsets.length; ++g) {
    const [begin, end] = [b.groupOffsets[g]!, b.groupOffsets[g + 1]!];
    const own = Array.from({ length: end - begin }, (_, i) => begin + i).filter(
      (row) => b.valid?.[row] !== 0,
    );
    const known = own.filter((row) => !binary || b.reward[row] === 0 || b.reward[row] === 1);
    add("ignoredRows", own.length - known.length);
    const best = known.reduce((max, row) => Math.max(max, b.reward[row]!), 0);
    const sign = (row: number) => {
      if (pair) return row === begin ? 1 : -1;
      if (kind === "reg-grpo") return Math.sign(b.advantage[row]!);
      return b.reward[row] === (kind === "real-bce" ? best : 1) ? 1 : -1;
    };
    const scores = (side: number) =>
      known.filter((row) => sign(row) === side).map((row) => b.score[row]!);
    const [positive, negative] = [scores(1), scores(-1)];
    const constant = known.every((row) => b.advantage[row] === b.advantage[known[0]!]);
    const skipped =
      kind === "reg-grpo"
        ? known.length === 0 || (setting.skipConstant === true && constant)
        : positive.length === 0 || negative.length === 0;
    if (binary) add("count", 1);
    add(skipped ? "groupsSkipped" : "groupsUsed", 1);
    if (skipped) continue;
    if (!binary) add("count", kind === "real-bce" ? known.length : 1);
    const sum = (x: number[]) => x.reduce((a, c) => a + c, 0);
    add("positiveRows", positive.length);
    add("negativeRows", negative.length);
    add("positiveScoreSum", sum(positive));
    add("negativeScoreSum", sum(negative));
    const both = positive.length > 0 && negative.length > 0;
    const above = sum(positive) / positive.length > sum(negative) / negative.length;
    add("groupsOrdered", both && above ? 1 : 0);
  }
  const expected = groupLossMetrics.map((name) => want[name]!);
  return close("metrics", call(engine, b, setting).metrics, expected, 1e-12 * b.score.length);
}

/** Beside the defaults: every option at another value. */
const others: GroupLossSetting[] = [
  settingOf("real", { tau: 0.05 }),
  settingOf("real-bce", { tau: 3 }),
  settingOf("real-product", { tau: 0.05 }),
  settingOf("drpo", { tau: 0.2, lambda: 2, maxCompletionLength: 64 }),
  settingOf("disco", { tau: 0.2 }),
  settingOf("reg-grpo", { eps: 0.5, ddof: 1 }),
  settingOf("reg-grpo", { eps: 0, skipConstant: true }),
  settingOf("dpo", { beta: 2, labelSmoothing: 0.1 }),
  settingOf("ipo", { beta: 2 }),
];

function label(setting: GroupLossSetting): string {
  const { kind, ...options } = setting;
  return [kind, ...Object.entries(options).map(([name, value]) => `${name} ${value}`)].join(", ");
}

/** Every kind with default and other options, ragged groups, against float64. */
export function groupLossValueChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  const add = (name: string, rows: () => Rows, setting: GroupLossSetting) =>
    checks.push({ family, name, run: (engine) => checkGroupLoss(engine, rows(), setting) });
  for (const kind of kindNames) {
    const setting = settingOf(kind);
    const pairwise = pairKinds.includes(kind);
    add(label(setting), () => rowsFor(kind), setting);
    add(`${kind}, some rows invalid`, () => rowsFor(kind, { seed: 2, masked: true }), setting);
    const given = { ...setting, denominator: 37.5 };
    add(`${kind}, denominator given`, () => rowsFor(kind, { seed: 3 }), given);
    checks.push({
      family,
      name: `${kind}, metrics`,
      run: (engine) => checkMetrics(engine, rowsFor(kind, { seed: 4, masked: true }), setting),
    });
    const emulated = device === "emulated";
    const large = emulated ? [400, 3] : [900, 3, 600];
    const many = Array.from({ length: emulated ? 40 : 3000 }, (_, g) => (pairwise ? 2 : g % 9));
    if (!pairwise) add(`${kind}, large groups`, () => rowsFor(kind, { lengths: large }), setting);
    add(`${kind}, many groups`, () => rowsFor(kind, { lengths: many }), setting);
  }
  for (const setting of others) {
    add(label(setting), () => rowsFor(setting.kind, { seed: 5 }), setting);
  }
  add("reg-grpo, scores of 1,000 +- 1", () => rowsFor("reg-grpo", { shift: 1e3, spread: 1 }), {
    ...settingOf("reg-grpo"),
  });
  return checks;
}
