import { checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { FiresteelError } from "../error.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { OffsetsLike } from "../offsets.js";
import type { Tensor } from "../tensor.js";
import { refuseEstimator } from "./klTable.js";
import { type KlEstimator, klEstimators } from "./surrogateTable.js";

/** T tokens of R rows. */
export interface KlInputs {
  /** f32 [T]: under the policy. */
  logProb: TensorLike;
  /** f32 [T]: under the reference policy. */
  refLogProb: TensorLike;
  /** u8 [T]: 1 = trained. */
  mask?: TensorLike | null;
  /** `[R + 1]`: row r holds tokens `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
}

/** Choices of `klEstimate`. */
export interface KlOptions {
  /** "k1", "k2", "k3" or "abs" (Schulman 2020). In the reward k1 has the right mean and gradient. */
  estimator: Exclude<KlEstimator, "k3+">;
  /** Clamps |refLogProb - logProb| and |estimate| (verl: 20, 10); > 0. Default none. */
  clamp?: { readonly difference?: number; readonly value?: number };
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<KlResult>;
}

/** What `klEstimate` makes. */
export interface KlResult {
  /** f32 [T]: 0 on masked tokens. */
  kl: Tensor;
  /** f64 [R]: sums over the trained tokens. */
  rowKl: Tensor;
}

/**
 * Estimates KL(policy || reference) from the sampled tokens, for a KL in the reward. A trained token
 * with NaN in an input is reported and gives NaN, there and in its row's sum.
 *
 * @example
 * const { rowKl } = klEstimate(engine, { logProb, refLogProb, mask, rowOffsets }, { estimator: "k1" });
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function klEstimate(engine: Engine, args: KlInputs, options: KlOptions): KlResult {
  checkKeys("inputs", args, ["logProb", "refLogProb", "mask", "rowOffsets"]);
  checkKeys("options", options, ["estimator", "clamp", "out"]);
  const names = Object.keys(klEstimators) as KlEstimator[];
  const estimator = checkChoice<KlEstimator>("estimator", options.estimator, names);
  const refusal = refuseEstimator(estimator);
  if (refusal !== null) {
    const { message } = invalid("ERR_OPTION", "estimator", refusal.nearest, estimator);
    throw new FiresteelError("ERR_OPTION", `${message} (${refusal.reason})`);
  }
  const { clamp = {} } = options;
  checkKeys("clamp", clamp, ["difference", "value"]);
  const limit = (name: "difference" | "value") => {
    const value = clamp[name];
    if (value === undefined) return Number.POSITIVE_INFINITY;
    return checkNumber(`clamp.${name}`, value, 0, Number.MAX_VALUE, true);
  };
  const [difference, value] = [limit("difference"), limit("value")];
  return withInputs(engine, (inputs) => {
    const bounds = inputs.offsets("rowOffsets", args.rowOffsets);
    const { rows, total } = bounds;
    const logProb = inputs.tensor("logProb", args.logProb, "f32", [total]);
    const refLogProb = inputs.tensor("refLogProb", args.refLogProb, "f32", [total]);
    const mask = inputs.optional("mask", args.mask, "u8", [total]);
    const out = inputs.results(options.out, { kl: ["f32", [total]], rowKl: ["f64", [rows]] });
    engine.addon.kl(
      engine.handle,
      total,
      rows,
      names.indexOf(estimator),
      difference,
      value,
      handle(bounds),
      handle(logProb),
      handle(refLogProb),
      handle(mask),
      handle(out.kl),
      handle(out.rowKl),
    );
    return out;
  });
}
