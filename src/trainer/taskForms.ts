import type { QuestionForms } from "../contract/forms.js";
import type { Task } from "../contract/task.js";

/** How the questions of a task, or of each task of a mixture, are put to a judge and to a reviser. */
export function taskForms(task: Pick<Task, "forms" | "mixture">): {
  forms: QuestionForms | null;
  formsByTask?: Readonly<Record<string, QuestionForms | null>>;
} {
  const { mixture } = task;
  const forms = task.forms ?? null;
  if (mixture === undefined) return { forms };
  const own = mixture.map((part) => [part.task, part.forms ?? null]);
  return { forms, formsByTask: Object.fromEntries(own) };
}
