import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { logProb, logProbBackward } from "../engine/kernels/logProb.js";
import type { Tensor } from "../engine/tensor.js";
import { logProbGradient, logProb as reference } from "../reference/logProb.js";
import { close } from "../verify/compare.js";
import {
  type Float,
  logitRows,
  Random,
  type Typed,
  targetsOf,
  typed,
  widen,
} from "../verify/inputs.js";
import {
  backwardTolerance,
  forwardTolerance,
  type LogProbCase,
  rowsOf,
} from "../verify/logProb/cases.js";
import type { Ceiling } from "./ceiling.js";
import { measure, measurePlain, type Timing } from "./measure.js";

/** One line of a benchmark. Bytes and flops are what the call must move and compute at least. */
export interface BenchResult extends Timing {
  kernel: string;
  device: Engine["device"];
  shape: readonly number[];
  dtype: Float;
  bytes: number;
  flops: number;
  gbPerS: number;
  /** Share of the bandwidth that the plainest kernel of the same traffic reached in this run. */
  ofPeak: number;
  /** Others at the same work; ratio: how many times slower than firesteel. */
  peers: Record<string, { medianMs: number; ratio: number }>;
}

const vocab = 151_936; // Qwen's, the largest in common use
const elementBytes: Readonly<Record<Float, number>> = { f32: 4, bf16: 2, f16: 2 };
/** Rows that the references look at. */
const checked = 2;

interface Workload extends LogProbCase {
  tokens: number;
}

/** A few different rows over and over: the kernels' time does not depend on the values. */
function workload(dtype: Float, tokens: number): Workload {
  const random = new Random(1);
  const some = typed(logitRows(random, 4, vocab), dtype);
  const data = dtype === "f32" ? new Float32Array(tokens * vocab) : new Uint16Array(tokens * vocab);
  for (let at = 0; at < data.length; at += some.data.length) data.set(some.data, at);
  const cycle = <T>(values: ArrayLike<T>) =>
    Array.from({ length: tokens }, (_, t) => values[t % 4]!);
  const logits: Typed = { data, numbers: some.numbers };
  return {
    dtype,
    tokens,
    vocab,
    logits,
    targets: Int32Array.from(cycle(targetsOf(random, some.numbers, vocab))),
    temperature: 1,
    mask: null,
    dLogProb: Float32Array.from(cycle(random.normals(4))),
    dEntropy: Float32Array.from(cycle(random.normals(4))),
  };
}

/** The first rows as a case of their own, for the reference. */
function head(w: Workload): LogProbCase {
  return {
    ...w,
    targets: w.targets.slice(0, checked),
    dLogProb: w.dLogProb!.slice(0, checked),
    dEntropy: w.dEntropy!.slice(0, checked),
  };
}

function refuse(finding: string | null): void {
  if (finding === null) return;
  throw new FiresteelError("ERR_NO_DEVICE", `The kernel is wrong, so it is not timed: ${finding}`);
}

/** Log-prob and entropy as one would write them without a library: maximum, then one pass. */
function plainForward(w: Workload): Float32Array {
  const out = new Float32Array(2 * w.tokens);
  const logits = w.logits.data as Float32Array;
  for (let t = 0; t < w.tokens; ++t) {
    const row = logits.subarray(t * vocab, (t + 1) * vocab);
    let max = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < vocab; ++v) if (row[v]! > max) max = row[v]!;
    let sum = 0;
    let weighted = 0;
    for (let v = 0; v < vocab; ++v) {
      const e = Math.exp(row[v]! - max);
      sum += e;
      weighted += e * (row[v]! - max);
    }
    out[2 * t] = row[w.targets[t]!]! - max - Math.log(sum);
    out[2 * t + 1] = Math.log(sum) - weighted / sum;
  }
  return out;
}

/** Times log_prob, forward with entropy and backward, on one dtype. */
export async function benchLogProb(
  engine: Engine,
  dtype: Float,
  ceiling: Ceiling,
  options: { peers?: boolean; tokens?: number } = {},
): Promise<BenchResult[]> {
  const tokens = options.tokens ?? (engine.device === "cuda" ? 4096 : 256);
  const w = workload(dtype, tokens);
  const first = head(w);
  const logits = engine.tensor(w.logits.data, [tokens, vocab], dtype);
  const targets = engine.tensor(w.targets);
  const dLogProb = engine.tensor(w.dLogProb!);
  const dEntropy = engine.tensor(w.dEntropy!);
  const out = engine.empty([tokens, vocab], dtype);
  const kept = logProb(engine, logits, targets, { entropy: true });
  const { stats, entropy } = kept;
  const forward = () => logProb(engine, logits, targets, { entropy: true });
  const backward = () =>
    logProbBackward(engine, { logits, targets, stats, dLogProb, entropy, dEntropy, out });
  try {
    const want = reference(rowsOf(first));
    const tolerance = forwardTolerance(first);
    const read = (tensor: Tensor) => engine.scope(() => tensor.rows(0, checked).readSync());
    refuse(close("logProb", read(kept.logProb), want.logProb, tolerance));
    refuse(close("entropy", read(entropy!), want.entropy, tolerance));
    backward();
    const gradient = widen(read(out), dtype);
    const wanted = logProbGradient(rowsOf(first), first.dLogProb, first.dEntropy);
    refuse(close("dLogits", gradient, wanted, backwardTolerance(first)));

    const row = vocab * elementBytes[dtype];
    const result = (
      kernel: string,
      timing: Timing,
      bytes: number,
      perLogit: number,
      peak: number,
    ) => {
      const gbPerS = bytes / timing.medianMs / 1e6;
      return {
        kernel,
        device: engine.device,
        shape: [tokens, vocab],
        dtype,
        ...timing,
        bytes,
        flops: perLogit * tokens * vocab, // an exponential counts as one
        gbPerS,
        ofPeak: gbPerS / peak,
        peers: {} as BenchResult["peers"],
      };
    };
    const results = [
      // Read once; target in, log-prob, entropy and two statistics out. x - m, scaled, exp, two sums.
      result(
        "log-prob forward",
        await measure(engine, forward),
        tokens * (row + 20),
        6,
        ceiling.readGbPerS,
      ),
      // Read and written once; target, statistics, entropy and two gradients in.
      result(
        "log-prob backward",
        await measure(engine, backward),
        tokens * (2 * row + 24),
        6,
        ceiling.scaleGbPerS,
      ),
    ];
    if (options.peers && dtype === "f32") {
      const { medianMs } = measurePlain(() => plainForward(w));
      results[0]!.peers["plain JavaScript"] = { medianMs, ratio: medianMs / results[0]!.medianMs };
    }
    return results;
  } finally {
    const made = [logits, targets, dLogProb, dEntropy, out, kept.logProb, stats, entropy!];
    for (const tensor of made) tensor.dispose();
  }
}
