import type { Engine, FaultReport } from "../../engine/engine.js";
import { bernoulli } from "../../engine/kernels/bernoulli.js";
import { offsetsOf } from "../../engine/ragged.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits, zero } from "../compare.js";
import { faultsOf, Random, withThreads } from "../inputs.js";
import { backward, type EdgeBatch, edgeBatch, forward } from "./values.js";

const family = "bernoulli";

/** Every output and the gradient, as arrays. */
function everything(engine: Engine, b: EdgeBatch) {
  const { logProb, entropy, kl, rowLogProb, rowEntropy, rowKl } = forward(engine, b);
  return {
    logProb: logProb.readSync(),
    entropy: entropy!.readSync(),
    kl: kl!.readSync(),
    rowLogProb: rowLogProb.readSync(),
    rowEntropy: rowEntropy!.readSync(),
    rowKl: rowKl!.readSync(),
    dLogits: backward(engine, b).readSync(),
  };
}
type Everything = ReturnType<typeof everything>;
const names = (of: Everything) => Object.keys(of) as (keyof Everything)[];

function same(got: Everything, want: Everything): string | null {
  return firstOf(...names(want).map((name) => sameBits(name, got[name], want[name])));
}

/** Some rows of a batch, in any order. */
function pickRows(b: EdgeBatch, order: readonly number[]): EdgeBatch {
  const edges = order.flatMap((r) =>
    Array.from({ length: b.rowOffsets[r + 1]! - b.rowOffsets[r]! }, (_, i) => b.rowOffsets[r]! + i),
  );
  const floats = (x: Float32Array) => Float32Array.from(edges, (e) => x[e]!);
  const bytes = (x: Uint8Array) => Uint8Array.from(edges, (e) => x[e]!);
  return {
    logits: floats(b.logits),
    refLogits: floats(b.refLogits),
    actions: bytes(b.actions),
    mask: b.mask === null ? null : bytes(b.mask),
    dLogProb: floats(b.dLogProb),
    dEntropy: floats(b.dEntropy),
    dKl: floats(b.dKl),
    rowOffsets: offsetsOf(order.map((r) => b.rowOffsets[r + 1]! - b.rowOffsets[r]!)),
    temperature: b.temperature,
  };
}

/** Rows order[i] of the whole batch's results as row i. */
function pickResults(of: Everything, b: EdgeBatch, order: readonly number[]): Everything {
  const edges = (x: ArrayLike<number>) =>
    pickRows({ ...b, logits: Float32Array.from(x) }, order).logits;
  const rows = (x: ArrayLike<number>) => Float64Array.from(order, (r) => x[r]!);
  return {
    logProb: edges(of.logProb),
    entropy: edges(of.entropy),
    kl: edges(of.kl),
    rowLogProb: rows(of.rowLogProb),
    rowEntropy: rows(of.rowEntropy),
    rowKl: rows(of.rowKl),
    dLogits: edges(of.dLogits),
  };
}

function fault(
  what: string,
  kind: FaultReport["kind"],
  spoil: (b: EdgeBatch, e: number) => void,
  wrong: { logProb: number; kl: number; keepsGradient?: boolean },
): Check {
  return {
    family,
    name: `${what}: reported with its row, others untouched`,
    run(engine) {
      const b = edgeBatch({ lengths: [4, 6, 3] });
      const clean = everything(engine, b);
      const at = 5; // in row 1
      spoil(b, at);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = everything(own, b);
        const elsewhere = (x: ArrayLike<number>, i: number) =>
          Float64Array.from(x).filter((_, j) => j !== i);
        return firstOf(
          close("logProb", [got.logProb[at]!], [wrong.logProb], 1e-6),
          close("kl", [got.kl[at]!], [wrong.kl], 0),
          close("sum of kl", [got.rowKl[1]!], [wrong.kl], 0),
          wrong.keepsGradient ? null : zero("dLogits", [got.dLogits[at]!]),
          Number.isFinite(got.dLogits[at]!) ? null : `dLogits: ${got.dLogits[at]}`,
          ...names(got).map((name) => {
            const i = name.startsWith("row") ? 1 : at;
            return close(`other ${name}`, elsewhere(got[name], i), elsewhere(clean[name], i), 0);
          }),
        );
      });
      if (finding !== null) return finding;
      const right = faults.every((f) => f.kind === kind && f.count === 1 && f.firstRow === 1);
      return faults.length > 0 && right ? null : `reported ${JSON.stringify(faults)}`;
    },
  };
}

const NaNs = { logProb: Number.NaN, kl: Number.NaN };

/** What must not change a bit, and what is wrong. */
export function bernoulliEdgeChecks(device: Engine["device"]): Check[] {
  const many = device === "emulated" ? 40 : 4000;
  return [
    {
      family,
      name: "NaN, infinities and wrong actions under the mask change no bit",
      run(engine) {
        const b = edgeBatch({ masked: true });
        const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
        const soil = (x: Float32Array) => x.map((v, e) => (b.mask![e] === 0 ? filth[e % 3]! : v));
        const dirty: EdgeBatch = {
          ...b,
          logits: soil(b.logits),
          refLogits: soil(b.refLogits),
          actions: b.actions.map((a, e) => (b.mask![e] === 0 ? 200 : a)),
          dLogProb: soil(b.dLogProb),
          dEntropy: soil(b.dEntropy),
          dKl: soil(b.dKl),
        };
        const { finding, faults } = faultsOf(engine, (own) => {
          const got = everything(own, dirty);
          const hidden = (x: ArrayLike<number>) =>
            Float64Array.from(x).filter((_, e) => b.mask![e] === 0);
          return firstOf(
            same(got, everything(own, b)),
            zero("masked logProb", hidden(got.logProb)),
            zero("masked dLogits", hidden(got.dLogits)),
          );
        });
        return finding ?? (faults.length === 0 ? null : `reported ${JSON.stringify(faults)}`);
      },
    },
    {
      family,
      name: "rows in another order, and fewer of them, give the same bits",
      run(engine) {
        const b = edgeBatch({ masked: true });
        const whole = everything(engine, b);
        const order = new Random(3).permutation(b.rowOffsets.length - 1);
        return firstOf(
          ...[order, [3], [7, 0]].map((some) =>
            same(everything(engine, pickRows(b, some)), pickResults(whole, b, some)),
          ),
        );
      },
    },
    {
      family,
      name: "one and two threads give the same bits",
      run(engine) {
        const b = edgeBatch({ lengths: [many, 3, 0, many], masked: true });
        const [one, two] = withThreads(engine, (own) => everything(own, b));
        return same(one, two);
      },
    },
    {
      family,
      name: "log-probs alone have the same bits as with entropy and KL",
      run(engine) {
        const b = edgeBatch();
        const { logits, actions, rowOffsets } = b;
        const alone = bernoulli(engine, { logits, actions, rowOffsets });
        const want = forward(engine, b);
        return firstOf(
          alone.entropy === null && alone.kl === null ? null : "entropy or KL without being asked",
          sameBits("logProb", alone.logProb.readSync(), want.logProb.readSync()),
          sameBits("sums", alone.rowLogProb.readSync(), want.rowLogProb.readSync()),
        );
      },
    },
    {
      family,
      name: "all masked: zeros",
      run(engine) {
        const b = edgeBatch();
        b.mask = new Uint8Array(b.logits.length);
        b.logits.fill(Number.NaN);
        const got = everything(engine, b);
        return firstOf(...names(got).map((name) => zero(name, got[name])));
      },
    },
    fault("NaN in a logit", "not-a-number", (b, e) => b.logits.fill(Number.NaN, e, e + 1), NaNs),
    fault("an action of 2", "id-out-of-range", (b, e) => b.actions.fill(2, e, e + 1), NaNs),
    fault(
      "NaN in a reference logit",
      "not-a-number",
      (b, e) => {
        b.logits[e] = 0;
        b.actions[e] = 1;
        b.refLogits[e] = Number.NaN;
      },
      { logProb: -Math.LN2, kl: Number.NaN, keepsGradient: true },
    ),
    fault(
      "a reference that excludes what the policy can do",
      "no-support",
      (b, e) => {
        b.logits[e] = 0;
        b.actions[e] = 1;
        b.refLogits[e] = Number.POSITIVE_INFINITY;
      },
      { logProb: -Math.LN2, kl: Number.POSITIVE_INFINITY, keepsGradient: true },
    ),
  ];
}
