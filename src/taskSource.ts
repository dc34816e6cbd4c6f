import { resolve } from "node:path";
import type { Task } from "./contract/task.js";
import { type DatasetOptions, datasetTask } from "./data/datasetTask.js";
import { mixTasks } from "./data/mixTasks.js";
import { checkChoice, checkKeys, invalid } from "./engine/checks.js";
import { FiresteelError } from "./engine/error.js";
import { tasks } from "./tasks/index.js";

/** One of several tasks to mix: by its id, as an object, or from files. */
export interface MixedPart {
  task?: string | Task;
  data?: DatasetOptions;
  /** > 0, relative to the others'; default 1. */
  weight?: number;
}

/** What a run is trained on: exactly one of these. */
export interface TaskSource {
  /** An id, ids with weights ("arithmetic:2,other:1"), or a task. */
  task?: string | Task;
  /** Questions in files. */
  data?: DatasetOptions;
  /** Several, whose prompts are drawn by weight. */
  mix?: readonly MixedPart[];
}

/** The task of an id. @throws FiresteelError ERR_OPTION with the nearest id */
export function namedTask(id: string): Task {
  return tasks[checkChoice("task", id, Object.keys(tasks))]!;
}

/**
 * The task that a source says.
 *
 * @param missing where the source says nothing
 * @throws FiresteelError ERR_OPTION
 */
export async function taskOf(source: TaskSource, missing: string | Task): Promise<Task> {
  const given = (["task", "data", "mix"] as const).filter((name) => source[name] !== undefined);
  if (given.length > 1) {
    const message = `Expected one of task, data and mix but received ${given.join(" and ")}`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const { task = missing, data, mix } = source;
  if (data !== undefined) return datasetTask(data);
  if (mix !== undefined) return mixed(mix);
  if (typeof task !== "string") return task;
  return task.includes(":") || task.includes(",") ? mixed(weightedIds(task)) : namedTask(task);
}

/**
 * The same as JSON, for a run that goes on from anywhere; null where an object or a function stands
 * in it.
 */
export function writtenSource({ task, data, mix }: TaskSource): TaskSource | null {
  if (typeof task === "object") return null;
  const parts = mix?.map((part) => ({ ...part, ...writtenSource(part) }));
  if (mix?.some((part) => writtenSource(part) === null)) return null;
  const judging = [data?.verifier, data?.answer, data?.fillIn?.blank];
  if (judging.some((value) => typeof value === "function")) return null;
  return { task, data: data && absolute(data), mix: parts };
}

function absolute({ path, evaluation, ...rest }: DatasetOptions): DatasetOptions {
  const files = (given: DatasetOptions["path"]) => [given].flat().map((file) => resolve(file));
  const held =
    evaluation !== undefined && "path" in evaluation
      ? { path: files(evaluation.path) }
      : evaluation;
  return { ...rest, path: files(path), evaluation: held };
}

async function mixed(parts: readonly MixedPart[]): Promise<Task> {
  if (!Array.isArray(parts)) throw invalid("ERR_OPTION", "mix", "an array of tasks", parts);
  const weighted = [];
  for (const [i, part] of parts.entries()) {
    checkKeys(`mix[${i}]`, part, ["task", "data", "weight"]);
    const { weight, ...source } = part;
    if ((source.task === undefined) === (source.data === undefined)) {
      throw invalid("ERR_OPTION", `mix[${i}]`, "either task or data", part);
    }
    weighted.push({ task: await taskOf(source, ""), weight });
  }
  return mixTasks(weighted);
}

/** "arithmetic:2,other" */
function weightedIds(text: string): MixedPart[] {
  return text.split(",").map((part) => {
    const [id = "", weight = "1", ...more] = part.split(":");
    if (more.length > 0 || !/^\d+(\.\d+)?$/.test(weight)) {
      throw invalid("ERR_OPTION", "task", "ids with weights as in a:2,b:1", text);
    }
    return { task: id.trim(), weight: Number(weight) };
  });
}
