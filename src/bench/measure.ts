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
  /** At most; default 21. */
  samples?: number;
  /** A sample repeats the call until it takes about this long, so that starting it does not count. */
  sampleMs?: number;
  /** No further sample begins after it, once there are three. */
  budgetMs?: number;
}

export function summarize(ms: readonly number[]): Timing {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  return { medianMs: at(0.5), p20Ms: at(0.2), p80Ms: at(0.8), samples: sorted.length };
}

const leastSamples = 3;
const shortMs = 0.2;
const warmMs = 200;

/**
 * Times a call that enqueues work: warm-up, then samples of as many calls as fill `sampleMs`, each
 * waited for at its end.
 *
 * @param call gets the number of the call, from 0 on
 * @returns milliseconds per call, one number a sample
 */
export async function sampleTimes(
  engine: Engine,
  call: (index: number) => unknown,
  { samples = 21, sampleMs = 10, budgetMs = 600 }: MeasureOptions = {},
): Promise<number[]> {
  let index = 0;
  // A scope keeps what its function returns, and calls return their results.
  const once = () => {
    call(index++);
  };
  const sample = async (calls: number) => {
    const begun = performance.now();
    for (let i = 0; i < calls; ++i) engine.scope(once);
    await engine.synchronize();
    return performance.now() - begun;
  };
  await sample(1);
  let one = Math.min(await sample(1), await sample(1));
  // JavaScript is compiled while it runs: short calls are faster after some thousands of them.
  const warm = performance.now() + (one < shortMs ? warmMs : 0);
  while (performance.now() < warm) one = (await sample(100)) / 100;
  const calls = Math.max(1, Math.ceil(sampleMs / Math.max(one, 1e-3)));
  if (calls > 1) await sample(calls);
  const times: number[] = [];
  const begun = performance.now();
  while (times.length < samples) {
    if (times.length >= leastSamples && performance.now() - begun > budgetMs) break;
    times.push((await sample(calls)) / calls);
  }
  return times;
}

/** As `sampleTimes`, summarised. */
export async function measure(
  engine: Engine,
  call: () => unknown,
  options?: MeasureOptions,
): Promise<Timing> {
  return summarize(await sampleTimes(engine, call, options));
}

/** The same for plain functions. */
export function samplePlain(
  call: (index: number) => unknown,
  { samples = 21, sampleMs = 10, budgetMs = 600 }: MeasureOptions = {},
): number[] {
  let index = 0;
  const sample = (calls: number) => {
    const begun = performance.now();
    for (let i = 0; i < calls; ++i) call(index++);
    return performance.now() - begun;
  };
  const one = sample(1);
  const calls = Math.max(1, Math.ceil(sampleMs / Math.max(one, 1e-3)));
  const times: number[] = [];
  const begun = performance.now();
  while (times.length < samples) {
    if (times.length >= leastSamples && performance.now() - begun > budgetMs) break;
    times.push(sample(calls) / calls);
  }
  return times;
}
