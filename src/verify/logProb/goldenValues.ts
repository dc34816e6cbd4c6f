// Values worked out from the formulas by hand or in 25 digits, without any of this project's code:
// they hold the references to account as much as the kernels.

const ln = Math.log;

export interface LogProbGolden {
  name: string;
  logits: number[];
  target: number;
  temperature?: number;
  logProb: number;
  entropy: number;
  vocabMean: number;
  /** d logProb / d logits, d entropy / d logits and d vocabMean / d logits. */
  dLogProb: number[];
  dEntropy: number[];
  dVocabMean: number[];
}

export const logProbs: LogProbGolden[] = [
  {
    name: "probabilities 1/10, 2/10, 3/10, 4/10",
    logits: [ln(1), ln(2), ln(3), ln(4)],
    target: 3,
    logProb: -0.916290731874155,
    entropy: 1.27985422583367,
    dLogProb: [-0.1, -0.2, -0.3, 0.6],
    dEntropy: [0.102273086716038, 0.0659167373200866, -0.0227644264523194, -0.145425397583805],
    vocabMean: -1.50807163540706,
    dVocabMean: [0.15, 0.05, -0.05, -0.15],
  },
  {
    name: "the same logits at temperature 1/2: 1/30, 4/30, 9/30, 16/30",
    logits: [ln(1), ln(2), ln(3), ln(4)],
    target: 1,
    temperature: 0.5,
    logProb: -2.01490302054226,
    entropy: 1.07847677511742,
    dLogProb: [-1 / 15, 26 / 15, -18 / 30, -32 / 30],
    dEntropy: [0.154848040436316, 0.249713665446625, 0.0752976175251091, -0.47985932340805],
    vocabMean: -1.81217046648818,
    dVocabMean: [13 / 30, 7 / 30, -1 / 10, -17 / 30],
  },
  {
    name: "a token that cannot occur",
    logits: [0, Number.NEGATIVE_INFINITY, 0],
    target: 0,
    logProb: -Math.LN2,
    entropy: Math.LN2,
    dLogProb: [0.5, 0, -0.5],
    dEntropy: [0, 0, 0],
    vocabMean: Number.NEGATIVE_INFINITY,
    dVocabMean: [0, 0, 0],
  },
  {
    name: "one token",
    logits: [-7],
    target: 0,
    logProb: 0,
    entropy: 0,
    dLogProb: [0],
    dEntropy: [0],
    vocabMean: 0,
    dVocabMean: [0],
  },
];
