import type { Inputs } from "../inputs.js";
import type { PeerResult, Results } from "../kernel.js";
import { type MeasureOptions, summarize } from "../measure.js";

/** The work of one case, as someone else is asked to do it. */
export interface PeerTask {
  /** Kernel and variant: "log-prob forward". */
  task: string;
  dtype: "f32" | "bf16" | "f16";
  device: "cpu" | "cuda";
  threads: number;
  sizes: Readonly<Record<string, number>>;
  inputs: Inputs;
  /** Of the inputs, taken in turn, as firesteel's calls take them. */
  copies: number;
}

/** Someone else who can do (some of) the work. */
export interface Peer {
  readonly name: string;
  /**
   * Makes everything ready and computes once.
   *
   * @returns the first values of outputs, by firesteel's names for them; null where the peer has nothing
   *   that does this work
   */
  prepare(task: PeerTask): Promise<Readonly<Record<string, ArrayLike<number>>> | null>;
  /** Milliseconds per call of what was prepared, one number a sample. */
  time(options: MeasureOptions): Promise<number[]>;
  /** Frees what was prepared. */
  release(): Promise<void>;
  close(): void;
}

/**
 * How far a peer's values may be from firesteel's, relative to the largest among them: whether the work
 * is the same, not how well it is done. 16-bit peers round in between.
 */
const sameWork = { f32: 1e-3, bf16: 5e-2, f16: 1e-2 } as const;

/** max |a - b| over the values that both have, relative to max |b|; NaN counts as infinitely far. */
export function difference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  const count = Math.min(got.length, want.length);
  let far = count === 0 ? Number.POSITIVE_INFINITY : 0;
  let largest = 0;
  for (let i = 0; i < count; ++i) {
    const distance = Math.abs(got[i]! - want[i]!);
    if (!(distance <= far)) far = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
    largest = Math.max(largest, Math.abs(want[i]!));
  }
  return far === 0 ? 0 : far / largest;
}

/** Times a peer at a task once its results are those of firesteel; null where it has no part in it. */
export async function beside(
  peer: Peer,
  task: PeerTask,
  want: Results,
  options: MeasureOptions,
): Promise<Omit<PeerResult, "ratio"> | null> {
  try {
    const values = await peer.prepare(task);
    if (values === null) return null;
    // A peer may make more than firesteel's bench looks at.
    const both = Object.entries(values).filter(([name]) => name in want);
    const far = Math.max(...both.map(([name, got]) => difference(got, want[name]!)));
    if (both.length === 0 || !(far <= sameWork[task.dtype])) {
      return { medianMs: null, difference: far, reason: `differs by ${far.toPrecision(2)}` };
    }
    const { medianMs, p20Ms, p80Ms } = summarize(await peer.time(options));
    return { medianMs, p20Ms, p80Ms, difference: far };
  } catch (error) {
    return { medianMs: null, reason: (error as Error).message };
  } finally {
    await peer.release().catch(() => {});
  }
}

/** How many times slower each is than what took `ownMs`. */
export function withRatios(
  others: ReadonlyMap<string, Omit<PeerResult, "ratio">>,
  ownMs: number,
): Record<string, PeerResult> {
  const entries = [...others].map(([name, r]): [string, PeerResult] => {
    return [name, { ...r, ratio: r.medianMs === null ? null : r.medianMs / ownMs }];
  });
  return Object.fromEntries(entries);
}
