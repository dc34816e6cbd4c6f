import { groupLoss } from "../../engine/kernels/groupLoss.js";
import { type GroupLossKind, kindInputs, pairKinds } from "../../engine/kernels/groupLossTable.js";
import { rowScore, rowScoreBackward } from "../../engine/kernels/rowScore.js";
import { offsetsOf } from "../../engine/ragged.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { type GroupLossSetting, groupLoss as reference } from "../../reference/groupLoss.js";
import { rowScore as rowScoreReference } from "../../reference/rowScore.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits, values, zero } from "../compare.js";
import { faultsOf, Random, withThreads } from "../inputs.js";
import { tokensFor } from "./rowScore.js";
import { call, checkGroupLoss, kindNames, type Rows, rowsFor, settingOf } from "./values.js";

const family = "group-loss";

/** Groups `order` of a batch, as a batch of their own. */
function pick(b: Rows, order: readonly number[]): Rows {
  const rows = order.flatMap((g) =>
    Array.from(
      { length: b.groupOffsets[g + 1]! - b.groupOffsets[g]! },
      (_, i) => b.groupOffsets[g]! + i,
    ),
  );
  return {
    score: Float64Array.from(rows, (row) => b.score[row]!),
    groupOffsets: offsetsOf(order.map((g) => b.groupOffsets[g + 1]! - b.groupOffsets[g]!)),
    reward: Float32Array.from(rows, (row) => b.reward[row]!),
    lengths: Int32Array.from(rows, (row) => b.lengths[row]!),
    advantage: Float32Array.from(rows, (row) => b.advantage[row]!),
    valid: b.valid && Uint8Array.from(rows, (row) => b.valid![row]!),
  };
}

function gradientCheck(setting: GroupLossSetting): Check {
  const ddof = setting.ddof === undefined ? "" : `, ddof ${setting.ddof}`;
  return {
    family,
    name: `gradient against central differences, ${setting.kind}${ddof}`,
    run(engine) {
      const b = rowsFor(setting.kind, { seed: 6, masked: true });
      // Equal scores are a kink of the std.
      const random = new Random(7);
      b.score = b.score.map((x) => x + 0.1 * random.normal());
      const want = finiteDifference(
        (score) => reference({ ...b, score }, setting).loss,
        b.score,
        1e-6,
      );
      return close("dScore", call(engine, b, setting).dScore, want, 1e-7);
    },
  };
}

/** row_score, group_loss and the way back, against differences of the composed float64 function. */
function endToEnd(kind: GroupLossKind): Check {
  const setting = settingOf(kind);
  const pooling = ["dpo", "reg-grpo"].includes(kind) ? "sum" : "mean";
  const base = kind !== "drpo" && kind !== "disco";
  return {
    family,
    name: `from tokens to tokens against central differences, ${kind}`,
    run(engine) {
      const lengths = [3, 1, 0, 6, 2, 5, 4, 2];
      const tokens = tokensFor({ lengths, base, masked: true, seed: 8 });
      const { logProb, baseLogProb, mask, rowOffsets } = tokens;
      const b = rowsFor(kind, { lengths: pairKinds.includes(kind) ? [2, 2, 2, 2] : [5, 3] });
      b.reward.set([1, 0, 0, 1, 0, 1, 0, 1]);
      const how = { pooling, term: "log-ratio" } as const;
      const loss = (x: ArrayLike<number>) => {
        const { score } = rowScoreReference({ ...tokens, logProb: x }, how);
        return reference({ ...b, score }, setting).loss;
      };
      const scored = rowScore(engine, { logProb, baseLogProb, mask, rowOffsets }, how);
      const needed = Object.fromEntries(
        (kindInputs[kind] as readonly (keyof Rows)[]).map((name) => [name, b[name]]),
      );
      const { score, tokenWeight } = scored;
      const { groupOffsets } = b;
      const got = groupLoss(engine, { score, groupOffsets, ...needed }, setting as never);
      const rows = { mask, rowOffsets, tokenWeight };
      const dLogProb = rowScoreBackward(engine, { dScore: got.dScore, ...rows });
      const want = finiteDifference(loss, logProb, 1e-6);
      return firstOf(
        close("loss", values(got.loss), [loss(logProb)], 1e-12),
        close("dLogProb", values(dLogProb), want, 2e-7),
      );
    },
  };
}

function microBatches(kind: GroupLossKind): Check {
  return {
    family,
    name: `micro-batches of whole groups add up to the batch, ${kind}`,
    run(engine) {
      const b = rowsFor(kind, { seed: 9, masked: true });
      const groups = b.groupOffsets.length - 1;
      const whole = call(engine, b, settingOf(kind));
      const setting = settingOf(kind, { denominator: Math.max(whole.metric("count"), 1) });
      const all = Array.from({ length: groups }, (_, g) => g);
      const parts = [all.slice(0, 4), all.slice(4, 4), all.slice(4)].map((some) =>
        call(engine, pick(b, some), setting),
      );
      const loss = parts.reduce((sum, part) => sum + part.loss, 0);
      const metrics = parts[0]!.metrics.map((_, m) =>
        parts.reduce((sum, part) => sum + part.metrics[m]!, 0),
      );
      return firstOf(
        close("loss", [loss], [whole.loss], 1e-14 * Math.abs(whole.loss) + 1e-16),
        sameBits("dScore", Float64Array.from(parts.flatMap(({ bits }) => [...bits])), whole.bits),
        close("metrics", metrics, whole.metrics, 1e-12),
      );
    },
  };
}

function permutation(kind: GroupLossKind): Check {
  return {
    family,
    name: `groups in another order: the same bits of gradient, the same loss, ${kind}`,
    run(engine) {
      const b = rowsFor(kind, { seed: 10 });
      const order = new Random(11).permutation(b.groupOffsets.length - 1);
      const setting = settingOf(kind);
      const [straight, got] = [call(engine, b, setting), call(engine, pick(b, order), setting)];
      const want = order.flatMap((g) => [
        ...straight.bits.subarray(b.groupOffsets[g]!, b.groupOffsets[g + 1]!),
      ]);
      return firstOf(
        sameBits("dScore", got.bits, Float64Array.from(want)),
        close("loss", [got.loss], [straight.loss], 1e-13 * Math.abs(straight.loss)),
      );
    },
  };
}

function underMask(kind: GroupLossKind): Check {
  return {
    family,
    name: `NaN and infinities in invalid rows change no bit, ${kind}`,
    run(engine) {
      const b = rowsFor(kind, { seed: 12, masked: true });
      const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
      const soil = <T extends Float32Array | Float64Array>(x: T): T =>
        x.map((v, row) => (b.valid![row] === 0 ? filth[row % 3]! : v)) as T;
      const dirty: Rows = {
        ...b,
        score: soil(b.score),
        reward: soil(b.reward),
        advantage: soil(b.advantage),
        lengths: b.lengths.map((x, row) => (b.valid![row] === 0 ? -(2 ** 31) : x)),
      };
      const { finding, faults } = faultsOf(engine, (own) => {
        const [clean, got] = [b, dirty].map((rows) => call(own, rows, settingOf(kind)));
        return firstOf(
          sameBits("dScore", got!.bits, clean!.bits),
          sameBits("groupLoss", got!.groupLoss, clean!.groupLoss),
          sameBits("metrics", got!.metrics, clean!.metrics),
          zero(
            "dScore of invalid rows",
            got!.dScore.filter((_, row) => b.valid![row] === 0),
          ),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

function fault(kind: GroupLossKind, name: "score" | "reward" | "advantage", value: number): Check {
  return {
    family,
    name: `${value} in ${name}: the group gives 0, is reported, others untouched, ${kind}`,
    run(engine) {
      const b = rowsFor(kind, { seed: 13 });
      const spoilt = 3;
      const [begin, end] = [b.groupOffsets[spoilt]!, b.groupOffsets[spoilt + 1]!];
      const at = end - 1;
      const setting = settingOf(kind);
      const { finding, faults } = faultsOf(engine, (own) => {
        const clean = call(own, b, setting);
        const dirty = { ...b, [name]: b[name].map((x, row) => (row === at ? value : x)) };
        const got = call(own, dirty, setting);
        const want = clean.bits.map((x, row) => (row >= begin && row < end ? 0 : x));
        const rest = clean.loss - clean.groupLoss[spoilt]! / clean.metric("count");
        return firstOf(
          clean.groupLoss[spoilt] === 0 ? "the group gives 0 without the fault" : null,
          sameBits("dScore", got.bits, want),
          close("loss", [got.loss], [rest], 1e-14 * Math.abs(clean.loss)),
          close("groupsFaulty", [got.metric("groupsFaulty")], [1], 0),
          close("count", [got.metric("count")], [clean.metric("count")], 0),
        );
      });
      if (finding !== null) return finding;
      const [first] = faults;
      const right =
        faults.length === 1 &&
        first!.kind === "not-a-number" &&
        first!.count === 1 &&
        first!.firstRow === at;
      return right ? null : `reported ${JSON.stringify(faults)} instead of row ${at}`;
    },
  };
}

function extreme(kind: GroupLossKind, spread: number): Check {
  return {
    family,
    name: `scores of ${spread.toExponential()} times the temperature, ${kind}`,
    run(engine) {
      const setting = settingOf(kind);
      const unit = setting.tau ?? 1 / setting.beta!;
      const b = rowsFor(kind, { seed: 14, spread: spread * unit });
      const { finding, faults } = faultsOf(engine, (own) => checkGroupLoss(own, b, setting));
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

function overflow(kind: GroupLossKind): Check {
  return {
    family,
    name: `what overflows is a fault of its group, ${kind}`,
    run(engine) {
      const b = rowsFor(kind, { lengths: [2, 2], seed: 15 });
      b.reward.set([1, 0, 1, 0]);
      b.score.set([-1.5e308, 1.5e308], 0); // the wrong way round: an infinite loss
      const setting = settingOf(kind, kind === "drpo" || kind === "disco" ? { tau: 0.5 } : {});
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = call(own, b, setting);
        return firstOf(
          zero("dScore", got.dScore.subarray(0, 2)),
          close("used", [got.metric("groupsUsed"), got.metric("groupsFaulty")], [1, 1], 0),
          Number.isFinite(got.loss) && got.dScore[2] !== 0 ? null : "the other group is lost",
        );
      });
      if (finding !== null) return finding;
      const right = faults.length === 1 && faults[0]!.firstRow === 0;
      return right ? null : `reported ${JSON.stringify(faults)} instead of row 0`;
    },
  };
}

function nothing(kind: GroupLossKind): Check {
  return {
    family,
    name: `all rows invalid, empty groups, no groups: loss 0, gradient 0, ${kind}`,
    run(engine) {
      const invalid = rowsFor(kind);
      invalid.valid = new Uint8Array(invalid.score.length);
      invalid.score.fill(Number.NaN);
      const empty = rowsFor(kind, { lengths: pairKinds.includes(kind) ? [] : [0, 0, 0] });
      const none = rowsFor(kind, { lengths: [] });
      return firstOf(
        ...[invalid, empty, none].flatMap((b) => {
          const got = call(engine, b, settingOf(kind));
          return [
            zero("loss", [got.loss]),
            zero("dScore", got.dScore),
            zero("groupLoss", got.groupLoss),
            close("used", [got.metric("groupsUsed"), got.metric("groupsFaulty")], [0, 0], 0),
          ];
        }),
      );
    },
  };
}

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const b = rowsFor("real", { lengths: [300, 8, 0, 500, 700, 16] });
    const [one, two] = withThreads(engine, (own) => call(own, b, settingOf("real")));
    return firstOf(
      sameBits("dScore", one.bits, two.bits),
      Object.is(one.loss, two.loss) ? null : `loss: ${one.loss} and ${two.loss}`,
    );
  },
};

const types: Check = {
  family,
  name: "scores as f32 and rewards as u8 give the bits of f64 and f32",
  run(engine) {
    const b = rowsFor("real", { seed: 16 });
    b.reward = b.reward.map((x) => Math.floor(x));
    const score = Float32Array.from(b.score);
    b.score = Float64Array.from(score);
    const wide = call(engine, b, settingOf("real"));
    const { groupOffsets } = b;
    const inputs = { score, groupOffsets, reward: Uint8Array.from(b.reward) };
    const got = groupLoss(engine, inputs, { kind: "real" });
    return sameBits("dScore", got.dScore.readSync(), wide.bits);
  },
};

const ignored: Check = {
  family,
  name: "rows with a reward of neither 1 nor 0 change no bit, whatever they score",
  run(engine) {
    const b = rowsFor("real", { seed: 17 });
    const aside = b.reward.map((x, row) => (row % 3 === 1 ? 0.5 : x));
    const run = (rows: Rows, kind: GroupLossKind) => call(engine, rows, settingOf(kind));
    const score = b.score.map((x, row) => (row % 3 === 1 ? Number.NaN : x));
    const valid = Uint8Array.from(aside, (_, row) => (row % 3 === 1 ? 0 : 1));
    return firstOf(
      ...(["real", "real-product", "drpo", "disco"] as const).map((kind) =>
        sameBits(
          `dScore, ${kind}`,
          run({ ...b, score, reward: aside }, kind).bits,
          run({ ...b, valid }, kind).bits,
        ),
      ),
    );
  },
};

const toldApart: Check = {
  family,
  name: "a loss of next to nothing keeps its digits",
  run(engine) {
    const b = rowsFor("real", { lengths: [2] });
    b.reward.set([1, 0]);
    return firstOf(
      ...(["real", "real-bce", "real-product", "dpo"] as const).map((kind) => {
        b.score.set(kind === "dpo" ? [200, -200] : [20, -20]); // both e^-40
        const finding = checkGroupLoss(engine, b, settingOf(kind));
        return finding === null ? null : `${kind}: ${finding}`;
      }),
    );
  },
};

export function groupLossEdgeChecks(): Check[] {
  const tempered = kindNames.filter((kind) => kind !== "reg-grpo" && kind !== "ipo");
  return [
    ...kindNames.map((kind) => gradientCheck(settingOf(kind))),
    gradientCheck(settingOf("reg-grpo", { ddof: 1 })),
    ...kindNames.map(endToEnd),
    ...kindNames.map(microBatches),
    ...kindNames.map(permutation),
    ...kindNames.map(underMask),
    ...kindNames.map((kind) => fault(kind, "score", Number.NaN)),
    fault("real", "score", Number.NEGATIVE_INFINITY),
    fault("real-bce", "reward", Number.NaN),
    fault("drpo", "reward", Number.POSITIVE_INFINITY),
    fault("reg-grpo", "advantage", Number.NEGATIVE_INFINITY),
    ...tempered.flatMap((kind) => [extreme(kind, 1e4), extreme(kind, 1e12)]),
    ...kindNames.map(overflow),
    ...kindNames.map(nothing),
    threads,
    types,
    ignored,
    toldApart,
  ];
}
