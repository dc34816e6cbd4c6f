import type { Task } from "../contract/task.js";
import type { TrainSettings } from "./settingsTable.js";

/** The metrics of an evaluation: of the held-out prompts, then the task's further ones. */
export function evaluationNames(
  task: Pick<Task, "evaluations">,
  settings: Pick<TrainSettings, "evalGreedy" | "evalPassAtK" | "evalMajAtK">,
): string[] {
  return [
    "eval/accuracy",
    ...(settings.evalGreedy ? ["eval/greedy_accuracy"] : []),
    ...settings.evalPassAtK.map((k) => `eval/pass@${k}`),
    ...settings.evalMajAtK.map((k) => `eval/maj@${k}`),
    ...Object.keys(task.evaluations ?? {}),
  ];
}
