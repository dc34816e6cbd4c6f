import type { Engine } from "../engine/engine.js";

/** One thing that a kernel must get right, on whatever device the engine has. */
export interface Check {
  readonly name: string;
  /** The kernel family, e.g. "log-prob". */
  readonly family: string;
  /** Null when all is well, else what is not. Tensors that it makes are freed for it. */
  run(engine: Engine): string | null;
}

/** The first thing that is wrong, or null. */
export function firstOf(...findings: (string | null)[]): string | null {
  return findings.find((finding) => finding !== null) ?? null;
}
