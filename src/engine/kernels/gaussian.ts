import { checkChoice, checkKeys, checkNumber } from "../checks.js";
import { newArray } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import { MAX_STD, MIN_STD, type Reduction, reductions, type Term, terms } from "./gaussianTable.js";

/** What the calls over Gaussian actions share. */
export interface GaussianOptions {
  /** Over the valid elements of a sample; default "mean". */
  reduction?: Reduction;
}

/** Choices of `gaussianLogProb`. */
export interface GaussianLogProbOptions extends GaussianOptions {
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<GaussianLogProbResult>;
}

/** What `gaussianLogProb` takes: B samples of D elements. */
export interface GaussianLogProbInputs {
  /** f32 [B, D]: what was drawn. No gradient flows through it. */
  value: TensorLike;
  /** f32 [B, D]: what the policy predicts. */
  mean: TensorLike;
  /** In [1e-15, 1e15]: of all samples, or f32 [B]. */
  std: number | TensorLike;
  /** u8 [B, D]: elements with 0 are left out. */
  mask?: TensorLike | null;
}

/** What `gaussianLogProb` makes. */
export interface GaussianLogProbResult {
  /** f32 [B]. */
  logProb: Tensor;
  /** f64 [B]: d logProb / d mean = slope (value - mean), which the backward pass needs. */
  slope: Tensor;
}

/**
 * Log-density of values under Gaussians with one standard deviation a sample: the mean (or sum) over
 * valid elements of -(value - mean)^2 / (2 std^2) - log std - log(2 pi) / 2.
 *
 * The mean is what policies over latents and fields take (Flow-GRPO, arXiv 2505.05470; FAKER-Air,
 * arXiv 2511.22169); a sum of 10^5 elements is a float that resolves 0.008. A sample without valid
 * elements gives 0. A sample with a valid element that is not finite, or with a std outside its
 * range, gives NaN, gradient 0, and is reported (Engine's `onFault`). A sample's result depends on its
 * own values and on D alone.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function gaussianLogProb(
  engine: Engine,
  args: GaussianLogProbInputs,
  options: GaussianLogProbOptions = {},
): GaussianLogProbResult {
  checkKeys("inputs", args, ["value", "mean", "std", "mask"]);
  const mean = ["mean", args.mean] as const;
  const given = { value: ["value", args.value] as const, mean, std: args.std, mask: args.mask };
  return reduceElements(engine, "log-prob", "logProb", given, options);
}

/** What `gaussianLogProbBackward` takes: the forward call's inputs, its slope and the gradient. */
export interface GaussianLogProbBackwardInputs {
  value: TensorLike;
  mean: TensorLike;
  /** f64 [B] of the forward call. */
  slope: TensorLike;
  /** f32 [B]: gradient with respect to the log-probs. */
  dLogProb: TensorLike;
  mask?: TensorLike | null;
  /** Written instead of a new tensor. */
  out?: Tensor;
}

/**
 * Gradient with respect to the mean: dLogProb slope (value - mean). Exact zeros where masked and in
 * samples that were reported.
 *
 * @returns f32 [B, D]: `out`, or a new tensor
 * @throws FiresteelError as `gaussianLogProb`
 */
export function gaussianLogProbBackward(
  engine: Engine,
  args: GaussianLogProbBackwardInputs,
): Tensor {
  checkKeys("the argument", args, ["value", "mean", "slope", "dLogProb", "mask", "out"]);
  const { value, mean, slope, dLogProb, mask, out } = args;
  return meanGradient(engine, {
    value: ["value", value],
    mean: ["mean", mean],
    slope,
    dOut: ["dLogProb", dLogProb],
    mask,
    out,
  });
}

/** What `gaussianKl` takes: B samples of D elements. */
export interface GaussianKlInputs {
  /** f32 [B, D]: of the policy. */
  mean: TensorLike;
  /** f32 [B, D]: of the reference. */
  refMean: TensorLike;
  /** In [1e-15, 1e15]: of all samples, or f32 [B]; both policies have it. */
  std: number | TensorLike;
  /** u8 [B, D]: elements with 0 are left out. */
  mask?: TensorLike | null;
}

/** What `gaussianKl` makes. */
export interface GaussianKlResult {
  /** f32 [B]. */
  kl: Tensor;
  /** f64 [B]: d kl / d mean = slope (refMean - mean), which the backward pass needs. */
  slope: Tensor;
}

/** Choices of `gaussianKl`. */
export interface GaussianKlOptions extends GaussianOptions {
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<GaussianKlResult>;
}

/**
 * KL between Gaussians with the same standard deviation: the mean (or sum) over valid elements of
 * (mean - refMean)^2 / (2 std^2). Exact, also where the means nearly agree.
 *
 * With the diffusion of a flow step as `std` it is Flow-GRPO's KL, with the step's own std and the old
 * policy's mean the bias of GRPO-Guard's ratio (arXiv 2510.22319), over a field the KL of FAKER-Air.
 * Samples without valid elements and faulty ones as in `gaussianLogProb`.
 *
 * @throws FiresteelError as `gaussianLogProb`
 */
export function gaussianKl(
  engine: Engine,
  args: GaussianKlInputs,
  options: GaussianKlOptions = {},
): GaussianKlResult {
  checkKeys("inputs", args, ["mean", "refMean", "std", "mask"]);
  const value = ["refMean", args.refMean] as const;
  const given = { value, mean: ["mean", args.mean] as const, std: args.std, mask: args.mask };
  return reduceElements(engine, "kl", "kl", given, options);
}

/** What `gaussianKlBackward` takes: the forward call's inputs, its slope and the gradient. */
export interface GaussianKlBackwardInputs {
  mean: TensorLike;
  refMean: TensorLike;
  /** f64 [B] of the forward call. */
  slope: TensorLike;
  /** f32 [B]: gradient with respect to the KLs. */
  dKl: TensorLike;
  mask?: TensorLike | null;
  /** Written instead of a new tensor. */
  out?: Tensor;
}

/**
 * Gradient with respect to the policy's mean: dKl slope (refMean - mean). Exact zeros where masked and
 * in samples that were reported.
 *
 * @returns f32 [B, D]: `out`, or a new tensor
 * @throws FiresteelError as `gaussianLogProb`
 */
export function gaussianKlBackward(engine: Engine, args: GaussianKlBackwardInputs): Tensor {
  checkKeys("the argument", args, ["mean", "refMean", "slope", "dKl", "mask", "out"]);
  const { mean, refMean, slope, dKl, mask, out } = args;
  return meanGradient(engine, {
    value: ["refMean", refMean],
    mean: ["mean", mean],
    slope,
    dOut: ["dKl", dKl],
    mask,
    out,
  });
}

/** What the caller calls it, for messages, and the data. */
type Named = readonly [name: string, data: TensorLike];

function reduceElements<const Name extends string>(
  engine: Engine,
  term: Term,
  name: Name,
  args: {
    value: Named;
    mean: Named;
    std: number | TensorLike;
    mask?: TensorLike | null | undefined;
  },
  options: GaussianOptions & { out?: { readonly [K in Name | "slope"]?: Tensor | null } },
): Record<Name | "slope", Tensor> {
  checkKeys("options", options, ["reduction", "out"]);
  const reduction = reductionCode(options.reduction);
  return withInputs(engine, (inputs) => {
    const mean = inputs.tensor(...args.mean, "f32", [null, null]);
    const [samples, width] = mean.shape as [number, number];
    const value = inputs.tensor(...args.value, "f32", mean.shape);
    const mask = inputs.optional("mask", args.mask, "u8", mean.shape);
    const std = stdOf(engine, inputs, args.std, samples);
    const specs = { [name]: ["f32", [samples]], slope: ["f64", [samples]] };
    const out = inputs.results(options.out, specs as Record<Name | "slope", ["f32", number[]]>);
    engine.addon.gaussianForward(
      engine.handle,
      samples,
      width,
      handle(value),
      handle(mean),
      handle(mask),
      termCode(term),
      reduction,
      handle(std),
      handle(out[name]),
      handle(out.slope),
    );
    return out;
  });
}

function stdOf(engine: Engine, inputs: Inputs, std: number | TensorLike, samples: number): Tensor {
  if (typeof std !== "number") return inputs.tensor("std", std, "f32", [samples]);
  const value = checkNumber("std", std, MIN_STD, MAX_STD);
  return inputs.temporary(engine.tensor(newArray("f32", samples).fill(value)));
}

/** @internal vScale (dOut slope (value - mean) + dMean) at valid elements. */
export function meanGradient(
  engine: Engine,
  args: {
    value: Named;
    mean: Named;
    slope: TensorLike;
    dOut: Named;
    mask?: TensorLike | null | undefined;
    dMean?: TensorLike | null | undefined;
    vScale?: TensorLike;
    out?: Tensor | undefined;
  },
): Tensor {
  return withInputs(engine, (inputs) => {
    const mean = inputs.tensor(...args.mean, "f32", [null, null]);
    const [samples, width] = mean.shape as [number, number];
    const value = inputs.tensor(...args.value, "f32", mean.shape);
    const mask = inputs.optional("mask", args.mask, "u8", mean.shape);
    const slope = inputs.tensor("slope", args.slope, "f64", [samples]);
    const dOut = inputs.tensor(...args.dOut, "f32", [samples]);
    const dMean = inputs.optional("dMean", args.dMean, "f32", mean.shape);
    const gain = inputs.optional("vScale", args.vScale, "f32", [samples]);
    const out = inputs.result("out", args.out, "f32", mean.shape);
    engine.addon.gaussianBackward(
      engine.handle,
      samples,
      width,
      handle(value),
      handle(mean),
      handle(mask),
      handle(slope),
      handle(dOut),
      handle(dMean),
      handle(gain),
      handle(out),
    );
    return out;
  });
}

/** @internal The native numbers of the choices. @throws FiresteelError ERR_OPTION */
export function reductionCode(value: Reduction | undefined): number {
  const known = Object.keys(reductions) as Reduction[];
  return known.indexOf(checkChoice("reduction", value ?? "mean", known));
}

/** @internal */
export function termCode(term: Term): number {
  return Object.keys(terms).indexOf(term);
}
