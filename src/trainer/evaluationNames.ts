import type { Task } from "../contract/task.js";
import type { TrainSettings } from "./settingsTable.js";

/** What the mean of a reward is reported as where answers are not right or wrong. */
export function rewardEvaluation(reward: string): string {
  return `eval/rewards/${reward}/mean`;
}

/** The reward of such a metric; null: it is a share of right answers. */
export function evaluatedReward(metric: string): string | null {
  return /^eval\/rewards\/(.+)\/mean$/.exec(metric)?.[1] ?? null;
}

/** The metrics of an evaluation: of the held-out prompts, then the task's further ones. */
export function evaluationNames(
  task: Pick<Task, "accuracy" | "evaluations" | "rewards">,
  settings: Pick<TrainSettings, "evalGreedy" | "evalPassAtK" | "evalMajAtK">,
): string[] {
  if (task.accuracy === null) {
    return Object.keys(task.rewards).map(rewardEvaluation);
  }
  return [
    "eval/accuracy",
    ...(settings.evalGreedy ? ["eval/greedy_accuracy"] : []),
    ...settings.evalPassAtK.map((k) => `eval/pass@${k}`),
    ...settings.evalMajAtK.map((k) => `eval/maj@${k}`),
    ...Object.keys(task.evaluations ?? {}),
  ];
}
