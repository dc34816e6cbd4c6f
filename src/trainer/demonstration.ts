import type { Prompt, Trajectory } from "../contract/data.js";
import type { Task } from "../contract/task.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import type { Run } from "./run.js";

/** The task's answer to a question: what it demonstrates, else a label that is text; null where neither is. */
function answerOf(
  { demonstrate }: Task,
  question: Task["train"][number],
  uniform: () => number,
): string | null {
  if (demonstrate !== undefined) return demonstrate(question, uniform);
  return typeof question.label === "string" ? question.label : null;
}

/** Whether every training question has an answer to learn from. */
export function canDemonstrate(task: Task): boolean {
  return (
    task.demonstrate !== undefined || task.train.every(({ label }) => typeof label === "string")
  );
}

/**
 * An answer as if it had been sampled, up to the end-of-sequence token and without a sampler's log-probs.
 *
 * @throws FiresteelError ERR_OPTION where there is none, ERR_RANGE where it has no encoding
 */
export function demonstration(
  { task, models, progress }: Pick<Run, "task" | "models" | "progress">,
  prompt: Prompt,
  uniform: () => number,
): Trajectory {
  const { tokenizer } = models.policy!;
  const text = answerOf(task, prompt, uniform);
  if (text === null || tokenizer === null) {
    const lacks = text === null ? `no answer to ${show(prompt.id)}` : "a policy without tokens";
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected an answer to learn from but there is ${lacks}`,
    );
  }
  const ids = Int32Array.of(...tokenizer.encode(text), tokenizer.endOfSequence);
  return {
    id: 0,
    prompt,
    actions: { kind: "tokens", length: ids.length, ids },
    mask: new Uint8Array(ids.length).fill(1),
    columns: {},
    keys: { prompt: prompt.id },
    rewards: {},
    reward: null,
    text,
    finish: "stop",
    policyVersion: progress.updates,
    info: {},
  };
}
