import type { Question, Trajectory } from "../contract/data.js";
import type { Task } from "../contract/task.js";

const conditions = 8;
const radius = 2;
/** Of every mode, in each of the two directions. */
const spread = 0.25;

/** Centre of mode k = 0 .. 3 of a condition: at radius 2, angle 2 pi condition / 8 + k pi / 2. */
export function modeCenter(condition: number, k: number): readonly [number, number] {
  const angle = (2 * Math.PI * condition) / conditions + (k * Math.PI) / 2;
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

function distance([x, y]: readonly [number, number], [a, b]: readonly [number, number]): number {
  return Math.hypot(x - a, y - b);
}

/** 1 - |x - 1.5 m| / 2, at its best half a radius beyond the target mode m. */
export function proxyReward(x: readonly [number, number], condition: number): number {
  const [a, b] = modeCenter(condition, 0);
  return 1 - distance(x, [1.5 * a, 1.5 * b]) / 2;
}

/** exp(-|x - m|^2 / (2 0.25)), at its best on the target mode m. */
export function goldReward(x: readonly [number, number], condition: number): number {
  return Math.exp(-(distance(x, modeCenter(condition, 0)) ** 2) / (2 * 0.25));
}

/** A point of the data: one of the four modes, blurred. */
export function drawPoint(condition: number, uniform: () => number): Float32Array {
  const [a, b] = modeCenter(condition, Math.floor(4 * uniform()));
  // Box and Muller 1958; 1 - u keeps the logarithm finite.
  const length = spread * Math.sqrt(-2 * Math.log(1 - uniform()));
  const angle = 2 * Math.PI * uniform();
  return Float32Array.of(a + length * Math.cos(angle), b + length * Math.sin(angle));
}

const questions = Array.from({ length: conditions }, (_, condition): Question => {
  return {
    id: `flow2d/${condition}`,
    messages: [{ role: "user", content: `condition ${condition}` }],
    label: null,
    columns: { condition },
  };
});

function samplesScored(reward: (x: readonly [number, number], condition: number) => number) {
  return ({ trajectories }: { trajectories: readonly Trajectory[] }) =>
    trajectories.map(({ actions, prompt }) => {
      if (actions.kind !== "flow") return null;
      const [x, y] = actions.states.subarray(-2);
      return reward([x!, y!], prompt.columns.condition as number);
    });
}

/**
 * Conditional flow matching in the plane: 8 conditions, each with four equal modes, of which one is
 * wanted. The proxy reward pulls samples to the wanted mode and then past it; gold, which is reported
 * alone, says when that happens: both rise first, then gold falls (over-optimisation in small).
 *
 * Measured with flow-grpo along the ODE, 256 samples a condition, means of seeds 1, 2, 3, proxy / gold:
 * -.64/.17 after pre-training, -.38/.19 at step 20, .25/.50 at 40, .65/.58 at 50, .90/.26 at 60, .96/.16
 * at 80. After pre-training 80 % of the samples lie within three standard deviations of a mode.
 */
export const flow2d: Task = {
  id: "flow2d",
  title: "One of four modes in the plane, by a flow model and a proxy reward",
  kind: "flow",
  alphabet: null,
  train: questions,
  // The conditions are all there is: what is new in evaluation is the noise.
  evaluation: questions,
  rewards: { proxy: samplesScored(proxyReward), gold: samplesScored(goldReward) },
  rewardWeights: { gold: 0 },
  binaryRewards: false,
  accuracy: null,
  warmStart: [
    {
      name: "flow matching",
      steps: 1500,
      batchSize: 512,
      // A cosine from 3e-3 to 0, as straight pieces.
      learningRate: Array.from({ length: 16 }, (_, i) => ({
        step: 100 * i,
        rate: 1.5e-3 * (1 + Math.cos((Math.PI * i) / 15)),
      })),
      draw(uniform) {
        const question = questions[Math.floor(conditions * uniform())]!;
        const target = drawPoint(question.columns.condition as number, uniform);
        return { question, target };
      },
    },
  ],
  policy: { kind: "flow", width: 2, conditionWidth: conditions, hidden: 64, layers: 2 },
  settings: {
    steps: 80,
    promptsPerStep: 8,
    numGenerations: 16,
    temperature: 1,
    maxCompletionLength: 10,
    minibatchSize: 32,
    numIterations: 1,
    learningRate: 3e-3,
    maxGradNorm: 1,
    evalSamples: 64,
    bestMetric: "eval/rewards/proxy/mean",
  },
};
