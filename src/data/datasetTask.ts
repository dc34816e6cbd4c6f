import { createHash } from "node:crypto";
import { basename, extname } from "node:path";
import type { Question } from "../contract/data.js";
import type { PolicyShape, Task, TaskSettings } from "../contract/task.js";
import { checkChoice, checkKeys, invalid } from "../engine/checks.js";
import { type Extraction, extractionNames } from "../verifiers/extract.js";
import { type VerifiedOptions, verified } from "../verifiers/verified.js";
import { alphabetOf } from "./alphabet.js";
import { type ColumnMap, readQuestions } from "./questions.js";

/** Questions in files, and how answers to them are judged. */
export interface DatasetOptions extends Omit<VerifiedOptions, "verifier"> {
  /** JSONL or Parquet files. */
  path: string | readonly string[];
  columns?: ColumnMap;
  /** Default "exact". */
  verifier?: VerifiedOptions["verifier"];
  /** Where in the label column the answer stands; default "text", all of it. GSM8K: "after-hashes". */
  labelAnswer?: Extraction;
  /**
   * What is held out: files of the same columns, or a share of the questions in [0, 1), chosen by
   * their ids alone. Default: a tenth, at most 256 questions.
   */
  evaluation?: { readonly path: string | readonly string[] } | { readonly share: number };
  /** The task's id; default the first file's name without its ending. */
  id?: string;
  /** Where they differ from `datasetSettings`. */
  settings?: Partial<TaskSettings>;
  /** Shape of a tiny policy that is made for the data. */
  policy?: PolicyShape;
}

/** What holds for data that nothing was measured on: the arithmetic task's, and TRL's length. */
export const datasetSettings: TaskSettings = {
  steps: 50,
  promptsPerStep: 32,
  numGenerations: 8,
  temperature: 1,
  maxCompletionLength: 256,
  minibatchSize: 64,
  numIterations: 1,
  learningRate: 2e-4,
  maxGradNorm: 1,
  evalSamples: 16,
};

const heldOut = { share: 0.1, most: 256 };

/**
 * A task made of files. Columns that are not mapped are those of the questions, for rewards to read.
 *
 * @throws FiresteelError ERR_OPTION for options that are none, files that cannot be read, missing
 *   columns, and rows that cannot be used, all of it before anything is trained
 * @example
 * await datasetTask({
 *   path: "gsm8k.parquet",
 *   columns: { prompt: "question", label: "answer" },
 *   labelAnswer: "after-hashes",
 *   verifier: "math",
 *   answer: "last-boxed",
 * });
 */
export async function datasetTask(options: DatasetOptions): Promise<Task> {
  const { path, columns, labelAnswer, evaluation, id, settings, policy, ...judging } =
    checkDatasetOptions(options);
  const { verifier = "exact" } = judging;
  const correct = verified({ ...judging, verifier });
  const plan = { columns, verifier, labelAnswer, taken: new Map<string, string>() };
  const read = async (paths: readonly string[]) => {
    const sets: Question[][] = [];
    for (const file of paths) sets.push(await readQuestions(file, nameOf(file), plan));
    return sets.flat();
  };
  const all = await read(path);
  const sets =
    "path" in evaluation
      ? { train: all, evaluation: await read(pathsOf("data.evaluation.path", evaluation.path)) }
      : split(all, evaluation.share, "most" in evaluation ? heldOut.most : Number.MAX_SAFE_INTEGER);
  return {
    id,
    title: path.map((file) => basename(file)).join(", "),
    kind: "tokens",
    alphabet: alphabetOf([...sets.train, ...sets.evaluation], judging.answer),
    ...sets,
    fingerprint: fingerprintOf(sets),
    rewards: { correct },
    binaryRewards: typeof verifier === "string" && judging.fillIn?.credit !== "share",
    accuracy: "correct",
    warmStart: [],
    policy,
    settings: { ...datasetSettings, ...settings },
  };
}

/** The task's id where none is given. */
export function datasetName(path: DatasetOptions["path"]): string {
  return nameOf(pathsOf("data.path", path)[0]!);
}

function nameOf(path: string): string {
  return basename(path, extname(path)) || "data";
}

function pathsOf(name: string, path: unknown): readonly string[] {
  const paths: unknown[] = Array.isArray(path) ? [...path] : [path]; // a hole is no path
  const right = paths.every((file) => typeof file === "string" && file !== "");
  if (paths.length > 0 && right) return paths as string[];
  throw invalid("ERR_OPTION", name, "a file or several", path);
}

/** What the options say, checked, with the defaults filled in. */
function checkDatasetOptions(options: DatasetOptions) {
  const own = ["path", "columns", "labelAnswer", "evaluation", "id", "settings", "policy"];
  const judging = ["verifier", "answer", "numeric", "fillIn", "optionsColumn"];
  checkKeys("data", options, [...own, ...judging]);
  const path = pathsOf("data.path", options.path);
  const {
    columns = {},
    labelAnswer = "text",
    evaluation = heldOut,
    id = datasetName(path),
    settings = {},
    policy = { layers: 2, width: 64, heads: 2, kvHeads: 2, hidden: 128 },
  } = options;
  checkKeys("data.columns", columns, ["prompt", "label", "id"]);
  for (const [role, column] of Object.entries(columns)) {
    if (typeof column === "string" && column !== "") continue;
    throw invalid("ERR_OPTION", `data.columns.${role}`, "a column's name", column);
  }
  checkChoice("data.labelAnswer", labelAnswer, extractionNames);
  if (evaluation !== heldOut) {
    checkKeys("data.evaluation", evaluation, ["path", "share"]);
    if ("path" in evaluation === "share" in evaluation) {
      throw invalid("ERR_OPTION", "data.evaluation", "either path or share", evaluation);
    }
  }
  if ("share" in evaluation && !(evaluation.share >= 0 && evaluation.share < 1)) {
    throw invalid("ERR_OPTION", "data.evaluation.share", "a number in [0, 1)", evaluation.share);
  }
  if (typeof id !== "string" || id === "") throw invalid("ERR_OPTION", "data.id", "a name", id);
  checkKeys("data.settings", settings, Object.keys(datasetSettings));
  checkKeys("data.policy", policy, ["layers", "width", "heads", "kvHeads", "hidden"]);
  return { ...options, path, columns, labelAnswer, evaluation, id, settings, policy };
}

/** Held out are those whose ids have the smallest hashes: the same ones in any order of the file. */
function split(
  questions: readonly Question[],
  share: number,
  most: number,
): Pick<Task, "train" | "evaluation"> {
  const wanted = Math.min(most, Math.round(share * questions.length));
  const count = share > 0 && questions.length > 1 ? Math.max(1, wanted) : 0;
  const ordered = questions
    .map((question) => ({ question, key: hash(question.id) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const held = new Set(ordered.slice(0, count).map(({ question }) => question));
  return {
    train: questions.filter((question) => !held.has(question)),
    evaluation: questions.filter((question) => held.has(question)),
  };
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function fingerprintOf({ train, evaluation }: Pick<Task, "train" | "evaluation">): string {
  const digest = createHash("sha256");
  for (const set of [train, evaluation]) {
    for (const { id, messages, label } of set) digest.update(JSON.stringify([id, messages, label]));
    digest.update("\n");
  }
  return digest.digest("hex").slice(0, 16);
}
