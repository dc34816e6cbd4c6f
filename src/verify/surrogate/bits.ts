import type { Engine } from "../../engine/engine.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import {
  type AdvantageUnit,
  type Aggregation,
  groupedAggregations,
  type Level,
} from "../../engine/kernels/surrogateTable.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits } from "../compare.js";
import { Random, withThreads } from "../inputs.js";
import {
  aggregated,
  type BatchShape,
  call,
  family,
  groupRows,
  range,
  rowsOf,
  type TokenBatch,
  tokenBatch,
} from "./batch.js";
import { allAggregations } from "./values.js";

/** Trained tokens, or rows or groups that have one: what micro-batches must be told about the whole. */
export function denominatorOf(b: TokenBatch, aggregation: Aggregation): number {
  const rows = range(0, b.rowOffsets.length - 1);
  const trained = (r: number) =>
    range(b.rowOffsets[r]!, b.rowOffsets[r + 1]!).filter((t) => b.mask?.[t] !== 0).length;
  if (aggregation === "token-sum") return 1;
  if (aggregation === "token-mean") return trainedTokens(b);
  const active = (some: readonly number[]) => some.filter((r) => trained(r) > 0).length;
  if (!groupedAggregations.includes(aggregation)) return active(rows);
  const groups = range(0, b.groupOffsets!.length - 1);
  return groups.filter((g) => active(groupRows(b, [g])) > 0).length;
}

export function trainedTokens(b: TokenBatch): number {
  return b.mask?.reduce((sum, m) => sum + m, 0) ?? b.logProb.length;
}

/** Consecutive parts of a batch, cut at random between rows, or between groups where it has any. */
export function cut(b: TokenBatch, random: Random, cuts: number): TokenBatch[] {
  const groups = b.groupOffsets;
  const units = (groups ?? b.rowOffsets).length - 1;
  const bounds = range(0, cuts).map(() => random.integer(units + 1));
  const edges = [0, ...bounds, units].sort((x, y) => x - y);
  return edges.slice(1).map((end, i) => {
    const own = range(edges[i]!, end);
    return groups === undefined ? rowsOf(b, own) : rowsOf(b, groupRows(b, own), own);
  });
}

/** What micro-batches of a batch are to be called with. */
export function partOptions(b: TokenBatch, options: SurrogateOptions): SurrogateOptions {
  const denominator = Math.max(1, denominatorOf(b, options.aggregation));
  const whole = options.entropyAggregation === "token-mean";
  return {
    ...options,
    denominator,
    ...(whole ? { entropyDenominator: Math.max(1, trainedTokens(b)) } : {}),
  };
}

function addsUp(
  engine: Engine,
  b: TokenBatch,
  options: SurrogateOptions,
  parts: readonly TokenBatch[],
): string | null {
  const whole = call(engine, b, options);
  const own = partOptions(b, options);
  const results = parts.map((part) => call(engine, part, own));
  const loss = results.reduce((sum, result) => sum + result.loss, 0);
  const joined = Float32Array.from(results.flatMap(({ bits }) => [...bits]));
  const entropies = results.flatMap(({ dEntropy }) => [...(dEntropy ?? [])]);
  // A given denominator is a double, as the counted one is: the coefficients have the same bits.
  return firstOf(
    close("loss", [loss], [whole.loss], 1e-12 * Math.abs(whole.loss) + 1e-15),
    sameBits("dLogProb", joined, whole.bits),
    close("dEntropy", entropies, whole.dEntropy ?? [], 0),
  );
}

/** Everything at once, as far as it goes together. */
const rich: Partial<SurrogateOptions> = {
  ...{ epsilon: 0.2, epsilonHigh: 0.28, delta: 1.6, dualClip: 1.9, beta: 0.1 },
  ...{ mismatch: "token-truncate", entropyCoefficient: 0.1, entropyAggregation: "token-mean" },
};
const shape: BatchShape = { masked: true, weighted: true, entropy: true, shaped: true, seed: 6 };

function microBatches(aggregation: Aggregation, level: Level, advantage: AdvantageUnit): Check {
  return {
    family,
    name: `micro-batches add up to the whole batch, ${aggregation}, level ${level}`,
    run(engine) {
      const options = aggregated(aggregation, { ...rich, level });
      const b = tokenBatch(options, { ...shape, advantage });
      return addsUp(engine, b, options, cut(b, new Random(7), 3));
    },
  };
}

function permuted(aggregation: Aggregation, level: Level): Check {
  return {
    family,
    name: `rows in another order: the same bits of gradient, the same loss, ${aggregation}, level ${level}`,
    run(engine) {
      const options = aggregated(aggregation, { ...rich, level });
      const b = tokenBatch(options, { ...shape, seed: 7 });
      const random = new Random(8);
      const groups = b.groupOffsets && random.permutation(b.groupOffsets.length - 1);
      const order = groups ? groupRows(b, groups) : random.permutation(b.rowOffsets.length - 1);
      const [straight, got] = [
        call(engine, b, options),
        call(engine, rowsOf(b, order, groups), options),
      ];
      const want = order.flatMap((row) => [
        ...straight.bits.subarray(b.rowOffsets[row]!, b.rowOffsets[row + 1]!),
      ]);
      return firstOf(
        sameBits("dLogProb", got.bits, Float32Array.from(want)),
        close("loss", [got.loss], [straight.loss], 1e-12 * Math.abs(straight.loss)),
      );
    },
  };
}

function threads(level: Level): Check {
  return {
    family,
    name: `one and two threads give the same bits, level ${level}`,
    run(engine) {
      const options = aggregated("seq-mean-token-mean", { ...rich, level });
      const b = tokenBatch(options, { ...shape, lengths: [3000, 1, 0, 5000, 700] });
      const [one, two] = withThreads(engine, (own) => call(own, b, options));
      return firstOf(
        sameBits("dLogProb", one.bits, two.bits),
        Object.is(one.loss, two.loss) ? null : `loss: ${one.loss} and ${two.loss}`,
      );
    },
  };
}

/** What must not change a bit: the split, the order, the number of threads. */
export function surrogateBitChecks(): Check[] {
  const wide: [Level, AdvantageUnit][] = [
    ["segment", "segment"],
    ["sequence", "row"],
    ["sequence-product", "row"],
    ["sequence-token", "token"],
  ];
  return [
    ...allAggregations.map((aggregation) => microBatches(aggregation, "token", "row")),
    ...wide.map(([level, unit]) => microBatches("seq-mean-token-mean", level, unit)),
    microBatches("balanced", "sequence", "row"),
    microBatches("group-weighted", "segment", "segment"),
    permuted("seq-mean-token-mean", "token"),
    permuted("seq-mean-token-sum", "sequence"),
    permuted("token-mean", "segment"),
    permuted("balanced", "sequence-token"),
    permuted("group-weighted", "token"),
    ...(["token", "segment", "sequence"] as const).map(threads),
  ];
}
