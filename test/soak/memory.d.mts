/** One reading of the process, the thread and the engine, in bytes; `at` counts what has been done. */
export type Sample = Readonly<Record<string, number>>;

export interface Slope {
  readonly slope: number;
  readonly low: number;
  readonly high: number;
}

export interface Verdict {
  readonly slopes: Readonly<
    Record<string, { kibPer1000: number; low: number; high: number; held: boolean }>
  >;
  readonly boundKibPer1000: number;
  readonly held: boolean;
}

export const quantities: readonly string[];
export function slopeOf(points: readonly { x: number; y: number }[]): Slope;
export function judge(samples: readonly Sample[], bound: number): Verdict;
