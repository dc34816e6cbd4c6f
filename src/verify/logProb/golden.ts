import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { logProbMerge, logProbPartial } from "../../engine/kernels/logProbShards.js";
import { type Check, firstOf } from "../check.js";
import { close, ROUNDED_INPUTS, values } from "../compare.js";
import { type LogProbGolden, logProbs } from "./goldenValues.js";

function logProbGolden(g: LogProbGolden): Check {
  return {
    family: "log-prob",
    name: `by hand: ${g.name}`,
    run(engine) {
      const logits = engine.tensor(Float32Array.from(g.logits), [1, g.logits.length]);
      const { temperature } = g;
      const asked = { temperature, entropy: true, vocabMean: true };
      const got = logProb(engine, logits, [g.target], asked);
      const gradient = (dLogProb: number, dEntropy: number, dVocabMean: number) => {
        const { logProb: _, ...rest } = got;
        const above = { dLogProb: [dLogProb], dEntropy: [dEntropy], dVocabMean: [dVocabMean] };
        const how = { targets: [g.target], temperature, ...rest, ...above };
        return values(logProbBackward(engine, { logits, ...how }));
      };
      return firstOf(
        close("logProb", values(got.logProb), [g.logProb], ROUNDED_INPUTS),
        close("entropy", values(got.entropy!), [g.entropy], ROUNDED_INPUTS),
        close("vocabMean", values(got.vocabMean!), [g.vocabMean], ROUNDED_INPUTS),
        close("d logProb", gradient(1, 0, 0), g.dLogProb, ROUNDED_INPUTS),
        close("d entropy", gradient(0, 1, 0), g.dEntropy, ROUNDED_INPUTS),
        close("d vocabMean", gradient(0, 0, 1), g.dVocabMean, ROUNDED_INPUTS),
      );
    },
  };
}

/** The same values from two shards: the first column and the others. */
function shardGolden(g: LogProbGolden): Check {
  return {
    family: "log-prob",
    name: `by hand, the first column a shard: ${g.name}`,
    run(engine) {
      const { temperature } = g;
      const parts = [g.logits.slice(0, 1), g.logits.slice(1)].map((logits, i) => {
        const z = engine.tensor(Float32Array.from(logits), [1, logits.length]);
        return logProbPartial(engine, z, [g.target], { temperature, vocabStart: i });
      });
      const asked = { vocab: g.logits.length, entropy: true, vocabMean: true };
      const got = logProbMerge(engine, parts, asked);
      return firstOf(
        close("logProb", values(got.logProb), [g.logProb], ROUNDED_INPUTS),
        close("entropy", values(got.entropy!), [g.entropy], ROUNDED_INPUTS),
        close("vocabMean", values(got.vocabMean!), [g.vocabMean], ROUNDED_INPUTS),
      );
    },
  };
}

export function logProbGoldenChecks(): Check[] {
  return [
    ...logProbs.map(logProbGolden),
    ...logProbs.filter(({ logits }) => logits.length > 1).map(shardGolden),
  ];
}
