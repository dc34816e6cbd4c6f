import type { Engine } from "../../engine/engine.js";
import { type LogProbResult, logProbBackward } from "../../engine/kernels/logProb.js";
import { logProbMerge, logProbPartial } from "../../engine/kernels/logProbShards.js";
import type { Tensor } from "../../engine/tensor.js";
import { typed, widen } from "../inputs.js";
import { gradients, type LogProbCase, reading, unpadded, upload } from "./cases.js";

/** Columns of a case, as a rank holds them. Targets keep their numbers in the whole vocabulary. */
interface Shard extends LogProbCase {
  vocabStart: number;
}

/** How shard i is read, where that is not as the others are. */
export type ReadShard = (i: number) => { temperature?: Tensor | Float32Array; mask?: Uint8Array };

const everything = { entropy: true, vocabMean: true };

/** Bounds of shards of equal width; the first ones get the columns that are left over. */
export function evenly(vocab: number, shards: number): number[] {
  const [width, more] = [Math.floor(vocab / shards), vocab % shards];
  return Array.from({ length: shards + 1 }, (_, i) => i * width + Math.min(i, more));
}

function shardsOf(c: LogProbCase, bounds: readonly number[]): Shard[] {
  return bounds.slice(1).map((end, i) => {
    const begin = bounds[i]!;
    const columns = c.logits.numbers.filter((_, at) => at % c.vocab >= begin && at % c.vocab < end);
    return { ...c, vocab: end - begin, logits: typed(columns, c.dtype), vocabStart: begin };
  });
}

/** The statistics of the shards between `bounds`. */
export function partialsOf(
  engine: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  how: ReadShard = () => ({}),
): Tensor[] {
  return shardsOf(c, bounds).map((shard, i) => {
    const { vocabStart, targets } = shard;
    const options = { ...reading(shard), ...how(i), vocabStart };
    return logProbPartial(engine, upload(engine, shard), targets, options);
  });
}

/** What the shards between `bounds` make of a case's rows. */
export function shardedForward(
  engine: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  asked = everything,
): LogProbResult {
  return logProbMerge(engine, partialsOf(engine, c, bounds), { vocab: c.vocab, ...asked });
}

/** d logits of the whole vocabulary, [T, V], each shard in place. */
export function shardedBackward(
  engine: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  merged: LogProbResult,
): Float64Array {
  const out = new Float64Array(c.logits.numbers.length);
  for (const shard of shardsOf(c, bounds)) {
    const logits = upload(engine, shard);
    const dLogits = logProbBackward(engine, {
      logits,
      targets: c.targets,
      stats: merged.stats,
      ...reading(shard),
      ...gradients(c, merged),
      vocabStart: shard.vocabStart,
      vocab: c.vocab,
      out: logits,
    });
    const got = unpadded(shard, widen(dLogits.readSync(), c.dtype));
    for (let t = 0; t < c.targets.length; ++t) {
      const row = got.subarray(t * shard.vocab, (t + 1) * shard.vocab);
      out.set(row, t * c.vocab + shard.vocabStart);
    }
  }
  return out;
}
