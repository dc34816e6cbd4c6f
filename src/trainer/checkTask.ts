import type { Question } from "../contract/data.js";
import type { Task } from "../contract/task.js";
import { invalid, show } from "../engine/checks.js";

/**
 * Refuses a task whose rewards or questions are not what the types promise: callers without types, too,
 * learn of it before any work.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function checkTask({ id, rewards, train, evaluation, evaluations = {} }: Task): void {
  const name = `task ${show(id)}`;
  for (const [reward, given] of Object.entries(rewards)) {
    if (typeof given === "function") continue;
    throw invalid("ERR_OPTION", `reward ${show(reward)} of ${name}`, "a function", given);
  }
  for (const [set, questions] of Object.entries({ train, evaluation, ...evaluations })) {
    for (const [i, question] of questions.entries()) {
      const wrong = unfit(question);
      if (wrong === null) continue;
      const [what, expected, value] = wrong;
      throw invalid("ERR_OPTION", `${what} of question ${i} in ${set} of ${name}`, expected, value);
    }
  }
}

/** What is wrong with a question: which part, what was expected, what it is. */
function unfit(question: Question): [string, string, unknown] | null {
  const { id, messages, columns } = question ?? {};
  if (typeof id !== "string" || id === "") return ["id", "a text", id];
  const whole =
    Array.isArray(messages) && messages.every((message) => typeof message?.content === "string");
  if (!whole) return ["messages", "an array of { role, content }", messages];
  const plain = typeof columns === "object" && columns !== null;
  return plain ? null : ["columns", "an object", columns];
}
