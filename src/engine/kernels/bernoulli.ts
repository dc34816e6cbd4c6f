import { checkBoolean, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { OffsetsLike } from "../offsets.js";
import type { Tensor } from "../tensor.js";
import { checkTemperature } from "./logProb.js";

/** What `bernoulli` takes: E edges in R rows. */
export interface BernoulliInputs {
  /** f32 [E]: one logit per edge. */
  logits: TensorLike;
  /** u8 [E]: 1 where the action was taken, else 0. */
  actions: TensorLike;
  /** `[R + 1]`: row (graph) r holds edges `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
  /** f32 [E]: logits of the reference policy; asks for the KL to it. */
  refLogits?: TensorLike | null;
  /** u8 [E]: edges with 0 are left out; their outputs are 0. */
  mask?: TensorLike | null;
}

/** Choices of `bernoulli`. */
export interface BernoulliOptions {
  /** Divides the logits, and those of the reference; > 0, default 1. */
  temperature?: number;
  /** Also the entropies; default false. */
  entropy?: boolean;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<BernoulliResult>;
}

/** What `bernoulli` makes: per edge, and summed per row. */
export interface BernoulliResult {
  /** f32 [E]: log-probability of the action. */
  logProb: Tensor;
  /** f32 [E] in nats, or null when not asked for. */
  entropy: Tensor | null;
  /** f32 [E]: KL(policy || reference), or null without `refLogits`. */
  kl: Tensor | null;
  /** f64 [R]: sums over the edges of a row. */
  rowLogProb: Tensor;
  /** f64 [R], or null where entropies were not asked for. */
  rowEntropy: Tensor | null;
  rowKl: Tensor | null;
}

/**
 * Independent yes-or-no actions with probability sigmoid(logit / temperature), such as the edges of
 * sampled graphs (Graph-GRPO, arXiv 2603.02701): log-probs, entropies and the exact KL to a reference.
 *
 * Float64 inside, rounded once. Infinite logits are legal (probability 0 or 1). A NaN logit or an
 * action above 1 gives NaN and gradient 0, and is reported with its row (Engine's `onFault`). So is a
 * KL that is NaN by its reference logit, or infinite because the reference excludes what the policy
 * can do; such a KL has no gradient.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function bernoulli(
  engine: Engine,
  args: BernoulliInputs,
  options: BernoulliOptions = {},
): BernoulliResult {
  checkKeys("inputs", args, ["logits", "actions", "rowOffsets", "refLogits", "mask"]);
  checkKeys("options", options, ["temperature", "entropy", "out"]);
  const temperature = checkTemperature(options.temperature);
  const entropy = checkBoolean("entropy", options.entropy ?? false);
  return withInputs(engine, (inputs) => {
    const bounds = inputs.offsets("rowOffsets", args.rowOffsets);
    const { rows, total: edges } = bounds;
    const logits = inputs.tensor("logits", args.logits, "f32", [edges]);
    const refLogits = inputs.optional("refLogits", args.refLogits, "f32", [edges]);
    const actions = inputs.tensor("actions", args.actions, "u8", [edges]);
    const mask = inputs.optional("mask", args.mask, "u8", [edges]);
    const reference = refLogits !== null;
    const out = inputs.results(options.out, {
      logProb: ["f32", [edges]],
      entropy: entropy ? ["f32", [edges]] : null,
      kl: reference ? ["f32", [edges]] : null,
      rowLogProb: ["f64", [rows]],
      rowEntropy: entropy ? ["f64", [rows]] : null,
      rowKl: reference ? ["f64", [rows]] : null,
    });
    engine.addon.bernoulliForward(
      engine.handle,
      edges,
      rows,
      temperature,
      handle(bounds),
      handle(logits),
      handle(refLogits),
      handle(actions),
      handle(mask),
      handle(out.logProb),
      handle(out.entropy),
      handle(out.kl),
      handle(out.rowLogProb),
      handle(out.rowEntropy),
      handle(out.rowKl),
    );
    return out;
  });
}

/**
 * What `bernoulliBackward` takes: the forward call's inputs and the gradients of its results. E edges, R
 * rows.
 */
export interface BernoulliBackwardInputs {
  /** f32 [E], as in the forward call. */
  logits: TensorLike;
  actions: TensorLike;
  refLogits?: TensorLike | null;
  mask?: TensorLike | null;
  temperature?: number;
  /** f32 [E]: gradient with respect to the log-probs. */
  dLogProb: TensorLike;
  /** f32 [E]: gradient with respect to the entropies. */
  dEntropy?: TensorLike | null;
  /** f32 [E]: gradient with respect to the KLs; needs `refLogits`. */
  dKl?: TensorLike | null;
  /** Written instead of a new tensor. */
  out?: Tensor;
}

/**
 * Gradient with respect to the logits, rounded once. Exact zeros where masked or faulty.
 *
 * @returns f32 [E]: `out`, or a new tensor
 * @throws FiresteelError as `bernoulli`
 */
export function bernoulliBackward(engine: Engine, args: BernoulliBackwardInputs): Tensor {
  checkKeys("the argument", args, [
    "logits",
    "actions",
    "refLogits",
    "mask",
    "temperature",
    "dLogProb",
    "dEntropy",
    "dKl",
    "out",
  ]);
  const temperature = checkTemperature(args.temperature);
  return withInputs(engine, (inputs) => {
    const logits = inputs.tensor("logits", args.logits, "f32", [null]);
    const edges = logits.size;
    const refLogits = inputs.optional("refLogits", args.refLogits, "f32", [edges]);
    const actions = inputs.tensor("actions", args.actions, "u8", [edges]);
    const mask = inputs.optional("mask", args.mask, "u8", [edges]);
    const dLogProb = inputs.tensor("dLogProb", args.dLogProb, "f32", [edges]);
    const dEntropy = inputs.optional("dEntropy", args.dEntropy, "f32", [edges]);
    const dKl = inputs.optional("dKl", args.dKl, "f32", [edges]);
    if ((dKl === null) !== (refLogits === null)) {
      const expected =
        dKl === null ? "nothing (dKl is not given)" : "the forward call's logits (dKl is given)";
      throw invalid("ERR_OPTION", "refLogits", expected, args.refLogits);
    }
    const out = inputs.result("out", args.out, "f32", [edges]);
    engine.addon.bernoulliBackward(
      engine.handle,
      edges,
      temperature,
      handle(logits),
      handle(refLogits),
      handle(actions),
      handle(mask),
      handle(dLogProb),
      handle(dEntropy),
      handle(dKl),
      handle(out),
    );
    return out;
  });
}
