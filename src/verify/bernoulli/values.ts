import type { Engine } from "../../engine/engine.js";
import {
  type BernoulliResult,
  bernoulli,
  bernoulliBackward,
} from "../../engine/kernels/bernoulli.js";
import { bernoulliTolerance } from "../../engine/kernels/bernoulliTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import { bernoulliGradient, bernoulli as reference } from "../../reference/bernoulli.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { Random } from "../inputs.js";
import { type BernoulliGolden, bernoullis } from "./golden.js";

const family = "bernoulli";

/** Half a step of the subnormal floats: what rounding costs below 2^-126. */
const SUBNORMAL = 2 ** -150;

export interface EdgeBatch {
  logits: Float32Array;
  refLogits: Float32Array;
  actions: Uint8Array;
  mask: Uint8Array | null;
  dLogProb: Float32Array;
  dEntropy: Float32Array;
  dKl: Float32Array;
  rowOffsets: Int32Array;
  temperature: number;
}

/** Graphs of some edges: none, one, more than a block. */
const lengths = [3, 0, 1, 40, 6, 0, 15, 150];

export function edgeBatch(
  options: {
    seed?: number;
    lengths?: readonly number[];
    masked?: boolean;
    /** Of the logits, and of their distance to the reference's. */
    spread?: number;
    apart?: number;
    temperature?: number;
  } = {},
): EdgeBatch {
  const random = new Random(options.seed ?? 1);
  const rowOffsets = offsetsOf(options.lengths ?? lengths);
  const edges = rowOffsets.at(-1)!;
  const logits = random.normals(edges, options.spread ?? 2);
  return {
    logits,
    refLogits: logits.map((z) => z + (options.apart ?? 1) * random.normal()),
    actions: random.mask(edges, 0.5),
    mask: options.masked ? random.mask(edges) : null,
    dLogProb: random.normals(edges),
    dEntropy: random.normals(edges),
    dKl: random.normals(edges),
    rowOffsets,
    temperature: options.temperature ?? 1,
  };
}

export function forward(engine: Engine, b: EdgeBatch): BernoulliResult {
  const { logits, refLogits, actions, mask, rowOffsets, temperature } = b;
  const inputs = { logits, refLogits, actions, mask, rowOffsets };
  return bernoulli(engine, inputs, { temperature, entropy: true });
}

export function backward(engine: Engine, b: EdgeBatch) {
  const { rowOffsets: _, ...args } = b;
  return bernoulliBackward(engine, args);
}

function relative(want: ArrayLike<number>): (i: number) => number {
  return (i) => bernoulliTolerance * Math.abs(want[i]!) + SUBNORMAL;
}

export function checkEdges(engine: Engine, b: EdgeBatch): string | null {
  const got = forward(engine, b);
  const want = reference(b);
  const parts = bernoulliGradient(b, b);
  const gradient = parts.logProb.map((x, e) => x + parts.entropy[e]! + parts.kl[e]!);
  const size = parts.logProb.map(
    (x, e) => Math.abs(x) + Math.abs(parts.entropy[e]!) + Math.abs(parts.kl[e]!),
  );
  const sums = (name: "logProb" | "entropy" | "kl", rows: ArrayLike<number>) => {
    const sum = Float64Array.from(rows, (_, r) =>
      want[name].subarray(b.rowOffsets[r]!, b.rowOffsets[r + 1]!).reduce((s, x) => s + x, 0),
    );
    return close(`sum of ${name}`, rows, sum, relative(sum));
  };
  return firstOf(
    close("logProb", values(got.logProb), want.logProb, relative(want.logProb)),
    close("entropy", values(got.entropy!), want.entropy, relative(want.entropy)),
    close("kl", values(got.kl!), want.kl, relative(want.kl)),
    sums("logProb", values(got.rowLogProb)),
    sums("entropy", values(got.rowEntropy!)),
    sums("kl", values(got.rowKl!)),
    close("dLogits", values(backward(engine, b)), gradient, relative(size)),
  );
}

/** Golden edges of one temperature, each with both actions: edge 2 i is that of case i, taken. */
function golden(temperature: number, cases: readonly BernoulliGolden[]): Check {
  return {
    family,
    name: `by hand: ${cases.length} edges at temperature ${temperature}`,
    run(engine) {
      const twice = <T>(pick: (g: BernoulliGolden) => readonly [T, T]) => cases.flatMap(pick);
      const both = (pick: (g: BernoulliGolden) => number) => twice((g) => [pick(g), pick(g)]);
      const logits = both((g) => g.logit);
      const refLogits = both((g) => g.refLogit);
      const actions = twice(() => [1, 0]);
      const rowOffsets = [0, logits.length];
      const inputs = { logits, refLogits, actions, rowOffsets };
      const got = bernoulli(engine, inputs, { temperature, entropy: true });
      const zeros = logits.map(() => 0);
      const ones = logits.map(() => 1);
      const gradient = (dLogProb: number[], dEntropy: number[], dKl: number[]) =>
        values(
          bernoulliBackward(engine, {
            ...{ logits, refLogits, actions, temperature },
            ...{ dLogProb, dEntropy, dKl },
          }),
        );
      const same = (what: string, have: ArrayLike<number>, want: readonly number[]) =>
        close(what, have, want, relative(want));
      return firstOf(
        same(
          "logProb",
          values(got.logProb),
          twice((g) => g.logProb),
        ),
        same(
          "entropy",
          values(got.entropy!),
          both((g) => g.entropy),
        ),
        same(
          "kl",
          values(got.kl!),
          both((g) => g.kl),
        ),
        same(
          "d logProb",
          gradient(ones, zeros, zeros),
          twice((g) => g.dLogProb),
        ),
        same(
          "d entropy",
          gradient(zeros, ones, zeros),
          both((g) => g.dEntropy),
        ),
        same(
          "d kl",
          gradient(zeros, zeros, ones),
          both((g) => g.dKl),
        ),
      );
    },
  };
}

const differences: Check = {
  family,
  name: "gradient against central differences",
  run(engine) {
    const b = edgeBatch({ lengths: [5, 9, 1], masked: true, temperature: 0.8 });
    const objective = (logits: ArrayLike<number>) => {
      const { logProb, entropy, kl } = reference({ ...b, logits });
      return logProb.reduce(
        (sum, x, e) => sum + x * b.dLogProb[e]! + entropy[e]! * b.dEntropy[e]! + kl[e]! * b.dKl[e]!,
        0,
      );
    };
    return close(
      "dLogits",
      values(backward(engine, b)),
      finiteDifference(objective, b.logits),
      1e-6,
    );
  },
};

export function bernoulliValueChecks(device: Engine["device"]): Check[] {
  const check = (name: string, options: Parameters<typeof edgeBatch>[0]): Check => ({
    family,
    name,
    run: (engine) => checkEdges(engine, edgeBatch(options)),
  });
  const many = device === "emulated" ? 300 : 30_000;
  const temperatures = [...new Set(bernoullis.map((g) => g.temperature ?? 1))];
  return [
    ...temperatures.map((temperature) =>
      golden(
        temperature,
        bernoullis.filter((g) => (g.temperature ?? 1) === temperature),
      ),
    ),
    check("ragged rows", {}),
    check("ragged rows, masked", { masked: true }),
    check("temperature 0.3", { masked: true, temperature: 0.3 }),
    check("logits of 10", { spread: 10, apart: 5 }),
    check("logits of 10,000", { spread: 1e4, apart: 1e4 }),
    check("nearly equal policies", { apart: 1e-3 }),
    check("policies that differ in the last bits", { apart: 1e-6 }),
    check("one edge", { lengths: [1] }),
    check("only empty rows", { lengths: [0, 0] }),
    check("no rows", { lengths: [] }),
    check("one long row, and many", {
      lengths: [many, ...Array.from({ length: 50 }, (_, r) => r % 3)],
    }),
    differences,
  ];
}
