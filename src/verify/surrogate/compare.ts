import type { Engine } from "../../engine/engine.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import { pools, surrogateTable } from "../../engine/kernels/surrogateTable.js";
import { surrogate as reference } from "../../reference/surrogate.js";
import { firstOf } from "../check.js";
import { close, F32_ROUNDING } from "../compare.js";
import { call, type TokenBatch } from "./batch.js";

/** A tolerance of the family's table, by what it is of. */
export function tolerance(of: string): number {
  const found = surrogateTable.tolerances.find((entry) => entry.of === of);
  if (found === undefined) throw new Error(`no tolerance of ${of}`);
  return found.cpu;
}

/**
 * How far a gradient may be off by token, relative to what it is made of: the form's own error, and one
 * rounding each for weight, mismatch weight, coefficient and the sum of policy and KL.
 */
export function gradientTolerance(options: SurrogateOptions, magnitude: ArrayLike<number>) {
  const pooled = pools[options.level ?? "token"] !== undefined;
  const own = tolerance(`d log-prob, ${pooled ? "pooled" : "token"} levels`);
  return (t: number) => (own + 4 * F32_ROUNDING) * magnitude[t]! + 1e-37;
}

/** Loss and its parts, and every gradient, against float64. */
export function checkSurrogate(
  engine: Engine,
  b: TokenBatch,
  options: SurrogateOptions,
): string | null {
  const got = call(engine, b, options);
  const want = reference(b, options);
  const { magnitude } = want;
  const sum = (what: string, a: number, x: number) =>
    close(what, [a], [x], tolerance("loss") * magnitude.loss + 1e-300);
  const gradient = gradientTolerance(options, magnitude.dLogProb);
  const biased = gradientTolerance(options, magnitude.dRatioBias);
  // A weight is the exponential of a difference, or of a sum of them over the row.
  const weights = want.mismatchWeight;
  const entropies = want.dEntropy;
  return firstOf(
    sum("loss", got.loss, want.loss),
    sum("policyLoss", got.metric("policyLoss"), want.policyLoss),
    sum("klLoss", got.metric("klLoss"), want.klLoss),
    sum("entropyLoss", got.metric("entropyLoss"), want.entropyLoss),
    close("dLogProb", got.dLogProb, want.dLogProb, gradient),
    got.dRatioBias && close("dRatioBias", got.dRatioBias, want.dRatioBias, biased),
    got.dEntropy &&
      close("dEntropy", got.dEntropy, entropies, (t) => 2e-7 * Math.abs(entropies[t]!)),
    got.mismatchWeight &&
      close("mismatchWeight", got.mismatchWeight, weights, (t) => 1e-6 * Math.abs(weights[t]!)),
  );
}
