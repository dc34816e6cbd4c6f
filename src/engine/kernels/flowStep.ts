import { checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { FiresteelError } from "../error.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import {
  type FlowNoise,
  type FlowSchedule,
  flowCoefficients,
  type PerSample,
} from "./flowCoefficients.js";
import { meanGradient, reductionCode, termCode } from "./gaussian.js";
import { flowTerms, type Reduction } from "./gaussianTable.js";

export interface FlowStepInputs extends FlowSchedule {
  /** f32 [B, D]: the latents before the step. */
  x: TensorLike;
  /** f32 [B, D]: the velocity that the model predicts there. */
  v: TensorLike;
  /** f32 [B, D], standard normal: draws `next`. Or `next`; neither where no step has noise. */
  noise?: TensorLike | null;
  /** f32 [B, D]: the latents that were drawn, whose log-prob is asked for. */
  next?: TensorLike | null;
}

export interface FlowStepOptions extends FlowNoise<PerSample> {
  /** Over the elements of a sample; default "mean", as Flow-GRPO has it. */
  reduction?: Reduction;
  /**
   * Where results are written, all or some of them; default: new tensors. Not `next` where it is given.
   */
  out?: Out<FlowStepResult>;
}

/** What `flowStep` makes. B samples of D elements. */
export interface FlowStepResult {
  /** f32 [B, D]: mean + std noise, or what was given. No gradient flows through it. */
  next: Tensor;
  /** f32 [B, D]. */
  mean: Tensor;
  /** f32 [B]: standard deviation of the step. */
  std: Tensor;
  /**
   * f32 [B]: log-density of `next`; for "cps" -(next - mean)^2, as Flow-CPS leaves std and constants
   * out. 0 where std is 0.
   */
  logProb: Tensor;
  /** f64 [B]: d logProb / d mean = slope (next - mean); 0 where std is 0. */
  slope: Tensor;
  /** f32 [B]: d mean / d v. */
  vScale: Tensor;
}

const inputKeys = ["x", "v", "sigma", "sigmaNext", "noise", "next"];
const optionKeys = ["kind", "noiseLevel", "sigmaMax", "reduction", "out"];

/**
 * One step of a flow model and its log-prob: a transition of the policy when a flow model samples by
 * an SDE (Flow-GRPO, Liu et al. 2025). The formulas stand at `flowCoefficients`.
 *
 * A given `next` has the same log-prob, bit for bit, as when it was drawn. A sample's result depends
 * on its own values and on D alone. A step with std 0 (noiseLevel 0, and the last one of "cps") is
 * deterministic: next = mean, log-prob and its gradient are 0, so that it drops out of a loss. A
 * sample with a value that is not finite gets log-prob NaN and gradient 0 and is reported (Engine's
 * `onFault`). f32 only: clip ranges of flow policies are about 1e-5.
 *
 * @example
 * const { next, logProb } = flowStep(
 *   engine,
 *   { x, v, noise, sigma: 0.8, sigmaNext: 0.7 },
 *   { kind: "sde", noiseLevel: 0.7 },
 * );
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function flowStep(
  engine: Engine,
  args: FlowStepInputs,
  options: FlowStepOptions,
): FlowStepResult {
  checkKeys("inputs", args, inputKeys);
  checkKeys("options", options, optionKeys);
  const reduction = reductionCode(options.reduction);
  const { sigma, sigmaNext } = args;
  const { kind, noiseLevel, sigmaMax } = options;
  const coefficients = flowCoefficients({ sigma, sigmaNext }, { kind, noiseLevel, sigmaMax });
  const drawn = args.noise !== undefined && args.noise !== null;
  const given = args.next !== undefined && args.next !== null;
  if (drawn && given) {
    throw new FiresteelError("ERR_OPTION", "Expected either noise or next but received both");
  }
  if (!drawn && !given && coefficients.std.some((std) => std !== 0)) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected noise or next (steps have a std above 0) but received neither",
    );
  }
  return withInputs(engine, (inputs) => {
    const x = inputs.tensor("x", args.x, "f32", [null, null]);
    const [samples, width] = x.shape as [number, number];
    const v = inputs.tensor("v", args.v, "f32", x.shape);
    const noise = inputs.optional("noise", args.noise, "f32", x.shape);
    const next = inputs.optional("next", args.next, "f32", x.shape);
    const bySample = Object.entries({ sigma, sigmaNext, noiseLevel, sigmaMax }).find(
      ([, value]) => value !== undefined && typeof value !== "number",
    );
    const perSample = bySample !== undefined;
    if (perSample && coefficients.x.length !== samples) {
      const found = coefficients.x.length;
      throw invalid("ERR_SHAPE", bySample[0], `${samples} values, as x has rows,`, found);
    }
    const column = (values: readonly number[]) =>
      perSample ? Float32Array.from(values) : new Float32Array(samples).fill(values[0]!);
    const xScale = inputs.temporary(engine.tensor(column(coefficients.x)));
    const made = inputs.results(options.out, {
      next: next === null ? ["f32", x.shape] : null,
      mean: ["f32", x.shape],
      std: ["f32", [samples]],
      logProb: ["f32", [samples]],
      slope: ["f64", [samples]],
      vScale: ["f32", [samples]],
    });
    made.std.write(column(coefficients.std));
    made.vScale.write(column(coefficients.v));
    const out = { ...made, next: made.next ?? next! };
    engine.addon.flowStep(
      engine.handle,
      samples,
      width,
      handle(x),
      handle(v),
      handle(xScale),
      handle(out.vScale),
      handle(noise),
      handle(next),
      handle(out.mean),
      handle(made.next),
      termCode(flowTerms[kind]),
      reduction,
      handle(out.std),
      handle(out.logProb),
      handle(out.slope),
    );
    return out;
  });
}

/**
 * What `flowStepBackward` takes: the forward call's results and the gradients with respect to them. B
 * samples of D elements.
 */
export interface FlowStepBackwardInputs {
  /** f32 [B, D] of `flowStep`. */
  next: TensorLike;
  mean: TensorLike;
  /** f64 [B] and f32 [B] of `flowStep`. */
  slope: TensorLike;
  vScale: TensorLike;
  /** f32 [B]: gradient with respect to the log-probs. */
  dLogProb: TensorLike;
  /** f32 [B, D]: gradient with respect to the means from elsewhere, such as a KL. */
  dMean?: TensorLike | null;
  /** Written instead of a new tensor. */
  out?: Tensor;
}

/**
 * Gradient with respect to the velocity, through the mean alone: vScale (dLogProb slope (next - mean)
 * + dMean). Exact zeros for samples that were reported.
 *
 * @returns f32 [B, D]: `out`, or a new tensor
 * @throws FiresteelError as `flowStep`
 */
export function flowStepBackward(engine: Engine, args: FlowStepBackwardInputs): Tensor {
  checkKeys("the argument", args, ["next", "mean", "slope", "vScale", "dLogProb", "dMean", "out"]);
  const { next, mean, slope, dLogProb } = args;
  return meanGradient(engine, {
    value: ["next", next],
    mean: ["mean", mean],
    slope,
    dOut: ["dLogProb", dLogProb],
    dMean: args.dMean,
    vScale: args.vScale,
    out: args.out,
  });
}
