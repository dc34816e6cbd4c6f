import type { Engine } from "../engine/engine.js";

/** Milliseconds per call. */
export interface Timing {
  medianMs: number;
  /** One call in five is faster than the first, one in five slower than the second. */
  p20Ms: number;
  p80Ms: number;
  samples: number;
}

export interface MeasureOptions {
  samples?: number;
  /** A sample repeats the call until it takes about this long, so that starting it does not count. */
  sampleMs?: number;
}

export function summarize(ms: readonly number[]): Timing {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  return { medianMs: at(0.5), p20Ms: at(0.2), p80Ms: at(0.8), samples: sorted.length };
}

/**
 * Times a call that enqueues work: warm-up, then samples of as many calls as fill `sampleMs`, each
 * waited for at its end.
 */
export async function measure(
  engine: Engine,
  call: () => void,
  { samples = 21, sampleMs = 20 }: MeasureOptions = {},
): Promise<Timing> {
  // A scope keeps what its function returns, and calls return their results.
  const once = () => {
    call();
  };
  const sample = async (calls: number) => {
    const begun = performance.now();
    for (let i = 0; i < calls; ++i) engine.scope(once);
    await engine.synchronize();
    return performance.now() - begun;
  };
  for (let i = 0; i < 3; ++i) await sample(1);
  const one = await sample(1);
  const calls = Math.max(1, Math.ceil(sampleMs / Math.max(one, 1e-3)));
  const times: number[] = [];
  for (let i = 0; i < samples; ++i) times.push((await sample(calls)) / calls);
  return summarize(times);
}

/** Times a plain function; fewer samples, since what is slow needs no repetition to be seen. */
export function measurePlain(call: () => void, samples = 3): Timing {
  call();
  const times = Array.from({ length: samples }, () => {
    const begun = performance.now();
    call();
    return performance.now() - begun;
  });
  return summarize(times);
}
