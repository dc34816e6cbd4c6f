/** Why a combination is refused, and the nearest that is not. */
export interface Refusal {
  /** Completes "... is refused: ". */
  readonly reason: string;
  /** As in a call, e.g. `level: "sequence"`. */
  readonly nearest: string;
}

/** One combination of a family's choices, and whether the kernels take it. */
export interface Combination {
  /** The choice on every axis. */
  readonly choices: Readonly<Record<string, string>>;
  /** Null where it is legal. */
  readonly refusal: Refusal | null;
}

/** How far a result may be from float64 of the same inputs, in words and as the checks use it. */
export interface Tolerance {
  /** The result, e.g. "d log-prob". */
  readonly of: string;
  /** Relative to `relativeTo`; equal on both backends unless one says otherwise. */
  readonly cpu: number;
  readonly cuda: number;
  readonly relativeTo: string;
}

/**
 * What a kernel family offers: what its validation, its checks and docs/kernels.md read. Where native
 * code dispatches on it, scripts/generateTables.mjs writes it out as a header.
 */
export interface KernelTable {
  readonly family: string;
  readonly summary: string;
  /** Papers or programs that the formulas come from. */
  readonly source: string;
  /** Meaning of each choice, by axis; in the order of the native numbering. */
  readonly axes: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly combinations: readonly Combination[];
  /** Choices that are made beside the axes, by name; `rules` say what they need. */
  readonly further?: KernelTable["axes"];
  /** What goes with what beyond the combinations, one sentence each. */
  readonly rules?: readonly string[];
  readonly tolerances: readonly Tolerance[];
}

/** All combinations of the axes' choices, each judged by `refuse`. */
export function combine(
  axes: KernelTable["axes"],
  refuse: (choices: Readonly<Record<string, string>>) => Refusal | null,
): Combination[] {
  const all = Object.entries(axes).reduce<Record<string, string>[]>(
    (rows, [axis, choices]) =>
      rows.flatMap((row) => Object.keys(choices).map((choice) => ({ ...row, [axis]: choice }))),
    [{}],
  );
  return all.map((choices) => ({ choices, refusal: refuse(choices) }));
}
