import { tokenLoss } from "../../engine/kernels/tokenLoss.js";
import { type Check, firstOf } from "../check.js";
import { close, ROUNDED_INPUTS, values } from "../compare.js";
import { family } from "./cases.js";

const ln2 = Math.LN2;

/**
 * Worked out by hand. Two tokens in rows of their own, both of old log-prob -ln 2, with A = 1 and -1.
 * Token 0: two equal logits, p = (1/2, 1/2), rho = 1, loss -1, d log-prob -1 before the mean over two.
 * Token 1: logits (ln 3, 0), p = (3/4, 1/4), target 0, rho = 3/2, loss 3/2, d log-prob 3/2.
 */
const clip: Check = {
  family,
  name: "two tokens by hand",
  run(engine) {
    const { loss, logProb, dLogProb, dLogits } = tokenLoss(
      engine,
      {
        logits: engine.tensor(Float32Array.of(0, 0, Math.log(3), 0), [2, 2]),
        targets: [1, 0],
        oldLogProb: [-ln2, -ln2],
        advantage: [1, -1],
        rowOffsets: [0, 1, 2],
      },
      { aggregation: "token-mean" },
    );
    return firstOf(
      close("logProb", values(logProb), [-ln2, Math.log(0.75)], ROUNDED_INPUTS),
      close("loss", values(loss), [0.25], ROUNDED_INPUTS),
      close("dLogProb", values(dLogProb), [-0.5, 0.75], ROUNDED_INPUTS),
      // (1 - p) d at the target, -p d beside it.
      close("dLogits", values(dLogits), [0.25, -0.25, 0.1875, -0.1875], ROUNDED_INPUTS),
    );
  },
};

/**
 * -lp - c H of p = (3/4, 1/4) at temperature 2, target 0, c = 1/2: H = -(3/4) ln(3/4) - (1/4) ln(1/4),
 * d H / d z_v = -p_v (ln p_v + H), here -+ (3/16) ln 3.
 */
const bonus: Check = {
  family,
  name: "an entropy bonus at temperature 2 by hand",
  run(engine) {
    const { loss, entropy, dLogits } = tokenLoss(
      engine,
      {
        logits: engine.tensor(Float32Array.of(2 * Math.log(3), 0), [1, 2]),
        targets: [0],
        advantage: [1],
        rowOffsets: [0, 1],
      },
      {
        ...{ form: "reinforce", level: "none", aggregation: "token-sum" },
        ...{ entropyCoefficient: 0.5, temperature: 2 },
      },
    );
    const h = -0.75 * Math.log(0.75) - 0.25 * Math.log(0.25);
    const slope = (-0.25 + 0.5 * 0.1875 * Math.log(3)) / 2;
    return firstOf(
      close("entropy", values(entropy!), [h], ROUNDED_INPUTS),
      close("loss", values(loss), [-Math.log(0.75) - 0.5 * h], ROUNDED_INPUTS),
      close("dLogits", values(dLogits), [slope, -slope], ROUNDED_INPUTS),
    );
  },
};

export function tokenLossGoldenChecks(): Check[] {
  return [clip, bonus];
}
