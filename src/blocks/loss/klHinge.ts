import type { LossTerm } from "../../contract/loss.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import { klHinge as hinge, type KlHingeOptions } from "../../engine/kernels/klHinge.js";
import { rowScore, rowScoreBackward } from "../../engine/kernels/rowScore.js";
import { choice, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

const shape = {
  beta: number(1000, { min: 0 }, "steepness"),
  delta: number(1e-4, { min: 0 }, "KL up to which nothing happens"),
  klEstimator: choice("k1", ["k1", "k3"], "of the KL from the old policy to the new"),
};

/**
 * Trust region of DRPO and DisCO (arXiv 2510.04474, 2505.12366): coefficient * kl over the trained tokens of
 * the optimiser step, where the coefficient max(beta (kl - delta), 0) is held constant. It needs the step's
 * whole KL: coupling "group". Reports `trust_region/kl` and `trust_region/coefficient`.
 *
 * @throws FiresteelError ERR_OPTION
 * @example
 * loss: [groupLoss({ kind: "disco" }), klHinge()]
 */
export function klHinge(options: KlHingeOptions & { klEstimator?: "k1" | "k3" } = {}): LossTerm {
  const { values, described } = parseOptions("klHinge", shape, options);
  const { beta, delta, klEstimator: term } = values;
  return {
    block: "klHinge",
    options: described,
    coupling: "group",
    whole: true,
    models: [],
    entropy: false,
    columns: [],
    evaluate(batch) {
      const engine = engineOf(batch.engine);
      const rows = { mask: batch.mask, rowOffsets: batch.rowOffsets };
      const scored = { logProb: tensorOf(batch.logProb, "logProb"), baseLogProb: batch.oldLogProb };
      const { score, tokenWeight } = rowScore(
        engine,
        { ...scored, ...rows },
        { pooling: "sum", term },
      );
      const tokens = Math.max(1, batch.scale.trainedTokens);
      const sum = (score.readSync() as Float64Array).reduce((total, own) => total + own, 0);
      const { coefficient, loss } = hinge(sum / tokens, { beta, delta });
      const dScore = new Float64Array(batch.rows.length).fill(coefficient / tokens);
      const read = term === "k3" ? scored : {};
      return {
        loss: engine.tensor(Float64Array.of(loss)),
        dLogProb: rowScoreBackward(engine, { dScore, tokenWeight, ...rows, ...read }, { term }),
        dEntropy: null,
        metrics: engine.tensor(Float64Array.of(sum, batch.scale.trainedTokens, coefficient)),
        decode: ([kl, count, factor]) => ({
          "trust_region/kl": { kind: "mean", sum: kl!, count: count! },
          "trust_region/coefficient": { kind: "mean", sum: factor!, count: 1 },
        }),
      };
    },
  };
}
