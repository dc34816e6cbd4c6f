import { groupNorm } from "../engine/kernels/groupNorm.js";
import { logProb, logProbBackward } from "../engine/kernels/logProb.js";
import { type Check, firstOf } from "./check.js";
import { close, values } from "./compare.js";
import { groups, type LogProbGolden, logProbs } from "./goldenValues.js";

/** What inputs rounded to floats may move a result of order 1. */
export const ROUNDED_INPUTS = 2e-6;

function logProbGolden(g: LogProbGolden): Check {
  return {
    family: "log-prob",
    name: `by hand: ${g.name}`,
    run(engine) {
      const logits = engine.tensor(Float32Array.from(g.logits), [1, g.logits.length]);
      const { temperature } = g;
      const got = logProb(engine, logits, [g.target], { temperature, entropy: true });
      const gradient = (dLogProb: number, dEntropy: number) => {
        const { stats, entropy } = got;
        const above = { dLogProb: [dLogProb], dEntropy: [dEntropy], temperature };
        const targets = [g.target];
        return values(logProbBackward(engine, { logits, targets, stats, entropy, ...above }));
      };
      return firstOf(
        close("logProb", values(got.logProb), [g.logProb], ROUNDED_INPUTS),
        close("entropy", values(got.entropy!), [g.entropy], ROUNDED_INPUTS),
        close("d logProb", gradient(1, 0), g.dLogProb, ROUNDED_INPUTS),
        close("d entropy", gradient(0, 1), g.dEntropy, ROUNDED_INPUTS),
      );
    },
  };
}

function groupNormGolden([name, rewards, options, advantage]: (typeof groups)[number]): Check {
  return {
    family: "group-norm",
    name: `by hand: ${name}`,
    run(engine) {
      const got = groupNorm(engine, rewards, { groupOffsets: [0, rewards.length], ...options });
      return close("advantage", values(got.advantage), advantage, 2e-7 * 4);
    },
  };
}

export function goldenChecks(): Check[] {
  return [...logProbs.map(logProbGolden), ...groups.map(groupNormGolden)];
}
