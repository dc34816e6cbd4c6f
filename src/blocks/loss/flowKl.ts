import type { Scheduled } from "../../contract/block.js";
import type { Trajectory } from "../../contract/data.js";
import type { LossTerm } from "../../contract/loss.js";
import { checkArguments, listOf, oneOf, withFields } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { flowOrOther } from "../../engine/contractKinds.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { type FlowActions, flowStepNoise } from "../../engine/kernels/flowActions.js";
import { flowCoefficients } from "../../engine/kernels/flowCoefficients.js";
import { gaussianKl, gaussianKlBackward } from "../../engine/kernels/gaussian.js";
import { klEstimate } from "../../engine/kernels/kl.js";
import { scale } from "../../engine/nn/elementwise.js";
import type { Tensor } from "../../engine/tensor.js";
import { atStep, choice, scheduled } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/** How much the KL counts. */
export interface FlowKlOptions {
  /** Coefficient of the KL to the reference policy, >= 0; default 0.04. */
  beta?: Scheduled;
  /**
   * What stands for the standard deviation of a step: "diffusion" (default; Flow-GRPO, without the factor
   * sqrt(-dt)) or "step", with which it is the KL of the transitions.
   */
  std?: "diffusion" | "step";
}

const shape = {
  beta: scheduled(0.04, { min: 0 }, "coefficient of the KL to the reference policy"),
  std: choice("diffusion", ["diffusion", "step"], "diffusion: without the factor sqrt(-dt)"),
};

/**
 * The divisor of every step's KL: [T] of all rows' steps, 1 where a step has no noise.
 *
 * @throws FiresteelError ERR_OPTION where actions are no flow steps
 */
export function flowStds(
  rows: readonly Pick<Trajectory, "actions">[],
  std: "diffusion" | "step",
): Float32Array {
  checkArguments(
    { rows, std },
    { rows: listOf(withFields({ actions: flowOrOther })), std: oneOf(["diffusion", "step"]) },
  );
  const values = rows.flatMap(({ actions }, r) => {
    if (actions.kind !== "flow") {
      throw invalid("ERR_OPTION", `rows[${r}].actions`, "flow steps", actions.kind);
    }
    const { schedule, noise } = flowStepNoise(actions.noise, stepsOf(actions));
    return flowCoefficients(schedule, noise)[std === "step" ? "std" : "diffusion"];
  });
  return Float32Array.from(values, (value) => (value === 0 ? 1 : value));
}

function stepsOf(of: FlowActions) {
  return Array.from({ length: of.length }, (_, step) => ({ of, step }));
}

/**
 * KL of a flow policy's steps to those of the frozen reference, in the loss: the mean over trained steps
 * of mean_d (mu - mu_ref)^2 / (2 std^2) (Flow-GRPO, arXiv 2505.05470, section 4.2). Added beside the
 * surrogate, as there is no log-prob ratio in it.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function flowKl(options: FlowKlOptions = {}): LossTerm {
  const { values, described } = parseOptions("flowKl", shape, options);
  return {
    block: "flowKl",
    options: described,
    coupling: "token",
    models: ["reference"],
    entropy: false,
    mean: true,
    columns: [],
    evaluate(batch) {
      const engine = engineOf(batch.engine);
      const mean = tensorOf(batch.mean!, "mean");
      const { trainedTokens } = batch.scale;
      const factor = trainedTokens === 0 ? 0 : atStep(values.beta, batch.step) / trainedTokens;
      const refMean = engine.tensor(batch.modelMean!.reference!, mean.shape);
      const { kl, slope } = gaussianKl(engine, {
        ...{ mean, refMean },
        std: flowStds(batch.rows, values.std),
      });
      const dKl = Float32Array.from(batch.mask, (trained) => (trained === 0 ? 0 : factor));
      const counted = batch.mask.reduce((sum, trained) => sum + (trained === 0 ? 0 : 1), 0);
      return {
        loss: total(engine, scale(engine, factor, kl), batch.mask),
        dLogProb: null,
        dEntropy: null,
        dMean: gaussianKlBackward(engine, { mean, refMean, slope, dKl }),
        metrics: total(engine, kl, batch.mask),
        decode: ([sum]) => ({ kl: { kind: "mean", sum: sum!, count: counted } }),
      };
    },
  };
}

/** The sum over trained steps in f64 [1]: the k1 estimate of one row against log-probs of 0. */
function total(engine: Engine, values: Tensor, mask: Uint8Array): Tensor {
  return klEstimate(
    engine,
    {
      ...{ logProb: values, refLogProb: engine.zeros([values.size]), mask },
      rowOffsets: Int32Array.of(0, values.size),
    },
    { estimator: "k1" },
  ).rowKl;
}
