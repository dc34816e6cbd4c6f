// Given to `node --import`: the embedded task with a warm start of moments, two checkpoints of which lie
// within it, and a policy of a few thousand weights.
import { tasks } from "../../dist/index.js";

/** A task whose runs take moments and write every kind of checkpoint. */
export function tinyTask(task) {
  return {
    ...task,
    policy: { layers: 1, width: 16, heads: 2, kvHeads: 1, hidden: 32 },
    warmStart: task.warmStart.slice(0, 2).map((stage) => ({ ...stage, steps: 105, batchSize: 2 })),
    evaluation: task.evaluation.slice(0, 4),
    evaluations: {},
  };
}

Object.assign(tasks.arithmetic, tinyTask(tasks.arithmetic));
