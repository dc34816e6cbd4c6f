import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import {
  type Level,
  levels,
  refuseAggregation,
  refuseKlRatio,
} from "../../engine/kernels/surrogateTable.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { surrogate as reference } from "../../reference/surrogate.js";
import { type Check, firstOf } from "../check.js";
import { close } from "../compare.js";
import { aggregated, type BatchShape, call, family, tokenBatch } from "./batch.js";
import { gradientTolerance } from "./compare.js";
import { allAggregations, allEstimators, legal, reachable } from "./values.js";

/**
 * The kernel's gradients against central differences of the reference's loss in float64, with what is
 * held constant frozen where the batch stands. A token within the step of 1e-5 of a kink would show: in
 * these batches there is none.
 */
function differs(
  engine: Parameters<Check["run"]>[0],
  options: SurrogateOptions,
  shape: BatchShape,
): string | null {
  const b = tokenBatch(options, shape);
  const got = call(engine, b, options);
  const { magnitude } = reference(b, options);
  const about = `${options.aggregation}, KL ${options.klEstimator ?? "k3"}: `;
  // 1e-8: the quotient's own error, from curvature and rounding.
  const near = (of: ArrayLike<number>) => {
    const own = gradientTolerance(options, of);
    return (t: number) => own(t) + 1e-8;
  };
  const dLogProb = finiteDifference(
    (logProb) => reference({ ...b, logProb }, options, b.logProb).loss,
    b.logProb,
  );
  const bias = b.ratioBias;
  return firstOf(
    close(`${about}dLogProb`, got.dLogProb, dLogProb, near(magnitude.dLogProb)),
    bias === undefined
      ? null
      : close(
          `${about}dRatioBias`,
          got.dRatioBias!,
          finiteDifference((ratioBias) => reference({ ...b, ratioBias }, options).loss, bias),
          near(magnitude.dRatioBias),
        ),
    b.entropy === undefined
      ? null
      : close(
          `${about}dEntropy`,
          got.dEntropy!,
          finiteDifference((entropy) => reference({ ...b, entropy }, options).loss, b.entropy),
          1e-7,
        ),
  );
}

const small: BatchShape = { lengths: [4, 0, 3, 1, 3], masked: true, weighted: true, seed: 4 };

type Case = [name: string, options: Partial<SurrogateOptions>, shape?: BatchShape];

const cases: Case[] = [
  ["delta and dual clip", { delta: 1.5, dualClip: 1.2 }, { spread: 0.6 }],
  ["limits per token, gmpo", { form: "gmpo", level: "sequence" }, { limits: "token" }],
  ["log-ratios clamped, sequence", { level: "sequence", logRatioClamp: [-0.1, 0.2] }],
  ["KL clamped", { beta: 0.3, klClamp: { difference: 0.5, value: 0.1 } }],
  ["KL clamped, k3+", { beta: 0.3, klEstimator: "k3+", klClamp: { difference: 0.6, value: 0.1 } }],
  ...(Object.keys(levels) as Level[]).flatMap((level) =>
    allEstimators.map(
      (klEstimator): Case => [
        `KL ${klEstimator} times the ratio, ${level}`,
        { level, beta: 0.3, klEstimator, klRatio: true },
      ],
    ),
  ),
  ["mismatch and threshold", { mismatch: "token-truncate", offPolicyThreshold: 0.05 }],
  ["shaped rows", { level: "sequence", beta: 0.1 }, { shaped: true }],
  ["shaped rows by the old policy", { shapeBase: "old" }, { shaped: true }],
  ["normalised ratios", { logRatioClamp: [-0.4, 0.5] }, { normalised: true }],
  ["normalised ratios, sapo", { form: "sapo" }, { normalised: true }],
  ["normalised ratios, KL times the ratio", { beta: 0.3, klRatio: true }, { normalised: true }],
  ["entropy bonus as the losses", { entropyCoefficient: 0.3 }, { entropy: true }],
  [
    "entropy bonus as a token mean",
    { entropyCoefficient: 0.3, entropyAggregation: "token-mean" },
    { entropy: true },
  ],
];

/** Every legal form and level under every aggregation, and every option that bends a gradient. */
export function surrogateGradientChecks(): Check[] {
  return [
    ...legal.map(
      ({ form, level, advantage }): Check => ({
        family,
        name: `gradient against central differences: ${form}, level ${level}, advantage per ${advantage}`,
        run: (engine) =>
          firstOf(
            ...allAggregations
              .filter((aggregation) => refuseAggregation(aggregation, advantage) === null)
              .map((aggregation, i) => {
                const klEstimator = allEstimators[i % allEstimators.length]!;
                const klRatio = refuseKlRatio(form) === null && i % 2 === 1;
                const options = {
                  ...reachable(form),
                  form,
                  level,
                  beta: 0.2,
                  klEstimator,
                  klRatio,
                };
                return differs(engine, aggregated(aggregation, options), { ...small, advantage });
              }),
          ),
      }),
    ),
    ...cases.map(
      ([name, options, shape]): Check => ({
        family,
        name: `gradient against central differences: ${name}`,
        run: (engine) =>
          differs(
            engine,
            { ...options, aggregation: "seq-mean-token-mean" },
            { ...small, ...shape },
          ),
      }),
    ),
  ];
}
