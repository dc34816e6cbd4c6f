/** A task whose runs take moments, and a warm start of two checkpoints. */
export function tinyTask(task) {
  return {
    ...task,
    policy: { layers: 1, width: 16, heads: 2, kvHeads: 1, hidden: 32 },
    warmStart: task.warmStart.slice(0, 2).map((stage) => ({ ...stage, steps: 105, batchSize: 2 })),
    evaluation: task.evaluation.slice(0, 4),
    evaluations: {},
  };
}
