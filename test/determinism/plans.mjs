/**
 * What is trained, and how short: steps of milliseconds, of every kind of update there is.
 *
 * @param firesteel the package, loaded from wherever it is to be tested
 */
export function plans({ tasks }) {
  const arithmetic = {
    ...tasks.arithmetic,
    warmStart: tasks.arithmetic.warmStart.map((stage) => ({ ...stage, steps: 4, batchSize: 8 })),
    evaluation: tasks.arithmetic.evaluation.slice(0, 4),
    evaluations: {},
  };
  const flow2d = {
    ...tasks.flow2d,
    warmStart: tasks.flow2d.warmStart.map((stage) => ({ ...stage, steps: 20, batchSize: 64 })),
  };
  const short = {
    ...{ device: "cpu", seed: 7, learningRate: 1e-3, evalSamples: 2, evalSteps: 2 },
    ...{ promptsPerStep: 4, numGenerations: 4, onWarning() {} },
  };
  const language = { ...short, task: arithmetic, minibatchSize: 8 };
  const { minibatchSize: _, ...own } = language;
  return {
    grpo: { ...language, system: "grpo" },
    "spark-balanced": { ...own, system: "spark-balanced" },
    ppo: { ...language, system: "ppo" },
    dpo: { ...own, system: "dpo" },
    "flow-grpo": { ...short, task: flow2d, minibatchSize: 8, system: "flow-grpo" },
  };
}
