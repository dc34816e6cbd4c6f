import type { Task } from "../contract/task.js";
import type { TrainSettings } from "./settingsTable.js";

/** The metrics of an evaluation: of the held-out prompts, then the task's further ones. */
export function evaluationNames(
  task: Pick<Task, "accuracy" | "evaluations" | "rewards">,
  settings: Pick<TrainSettings, "evalGreedy" | "evalPassAtK" | "evalMajAtK">,
): string[] {
  if (task.accuracy === null) {
    return Object.keys(task.rewards).map((name) => `eval/rewards/${name}/mean`);
  }
  return [
    "eval/accuracy",
    ...(settings.evalGreedy ? ["eval/greedy_accuracy"] : []),
    ...settings.evalPassAtK.map((k) => `eval/pass@${k}`),
    ...settings.evalMajAtK.map((k) => `eval/maj@${k}`),
    ...Object.keys(task.evaluations ?? {}),
  ];
}
