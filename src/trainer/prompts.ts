import type { Prompt, Question, Tokenizer } from "../contract/data.js";
import type { Policy } from "../contract/policy.js";
import type { StateStore } from "../contract/state.js";
import type { Task } from "../contract/task.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { weightedIndex } from "../statistics/weightedIndex.js";
import { permutation, uniformAt } from "./random.js";
import type { TrainSettings } from "./settings.js";

const drawnKey = "prompts/drawn";

/** What training prompts are drawn from. */
interface PromptSource {
  readonly train: readonly Prompt[];
  readonly task: Pick<Task, "mixture">;
  readonly settings: Pick<TrainSettings, "seed">;
  readonly state: StateStore;
}

/**
 * The next `count` training prompts: the whole set in a new random order each epoch. Of a mixture,
 * each draw first chooses a task by weight, whose prompts go through epochs of their own. How many
 * were drawn so far, of each task, is the whole of the state.
 */
export function nextPrompts(source: PromptSource, count: number): Prompt[] {
  const { train, task, settings, state } = source;
  const { seed } = settings;
  const drawn = state.get(drawnKey, 0);
  state.set(drawnKey, drawn + count);
  if (task.mixture === undefined) {
    return Array.from({ length: count }, (_, i) => promptAt(train, drawn + i, seed));
  }
  const { mixture } = task;
  const sets = setsOf(train, mixture);
  const weights = mixture.map(({ weight }) => weight);
  return Array.from({ length: count }, (_, i) => {
    const set = weightedIndex(weights, uniformAt(seed, "mixture", drawn + i)());
    const key = `${drawnKey}/${mixture[set]!.task}`;
    const at = state.get(key, 0);
    state.set(key, at + 1);
    return promptAt(sets[set]!, at, seed, set);
  });
}

/** The last order that was needed of a set: steps go through an epoch one after the other. */
const orders = new WeakMap<readonly Prompt[], { key: string; order: readonly number[] }>();

function promptAt(set: readonly Prompt[], at: number, seed: number, ...place: number[]): Prompt {
  const epoch = Math.floor(at / set.length);
  const key = `${seed} ${epoch}`;
  let known = orders.get(set);
  if (known?.key !== key) {
    const uniform = uniformAt(seed, "promptOrder", epoch, ...place);
    known = { key, order: permutation(set.length, uniform) };
    orders.set(set, known);
  }
  return set[known.order[at % set.length]!]!;
}

const partitions = new WeakMap<readonly Prompt[], readonly (readonly Prompt[])[]>();

/** The prompts of each task of a mixture. */
function setsOf(
  train: readonly Prompt[],
  mixture: NonNullable<Task["mixture"]>,
): readonly (readonly Prompt[])[] {
  let sets = partitions.get(train);
  if (sets === undefined) {
    sets = mixture.map(({ task }) => train.filter((prompt) => prompt.task === task));
    partitions.set(train, sets);
  }
  return sets;
}

/** The epoch of the prompt that was drawn last, of all tasks together; 0 before the first. */
export function epochOf(train: readonly Prompt[], state: StateStore): number {
  return Math.floor(Math.max(0, state.get(drawnKey, 0) - 1) / train.length);
}

const noTokens = new Int32Array(0);

/** A question as a policy reads it. Policies whose actions are not text get no tokens. */
export function tokenized(question: Question, tokenizer: Tokenizer | null): Prompt {
  if (tokenizer === null) return { ...question, tokens: noTokens };
  const text = question.messages.map(({ content }) => content).join("");
  return { ...question, tokens: tokenizer.encode(text) };
}

/** The prompts of a run, as its policy reads them. */
export interface RunPrompts {
  train: readonly Prompt[];
  evaluation: readonly Prompt[];
  evaluations: Readonly<Record<string, readonly Prompt[]>>;
}

/**
 * All prompts of a task, as a policy reads them. Those that leave no room for an answer are refused
 * by their ids, or left out where the setting `longPrompts` is "drop".
 *
 * @param warn told what was left out, and how many answers cannot have their full length
 * @throws FiresteelError ERR_OPTION for prompts that the policy cannot read, for long ones, and where none
 *   are left
 */
export function runPrompts(
  task: Task,
  policy: Pick<Policy, "kind" | "tokenizer" | "maxLength">,
  settings: Pick<TrainSettings, "longPrompts" | "maxCompletionLength">,
  warn: (warning: string) => void,
): RunPrompts {
  const long: Prompt[] = [];
  let short = 0;
  const read = (questions: readonly Question[]) =>
    questions.flatMap((question) => {
      const prompt = readable(question, task, policy.tokenizer);
      const room = policy.maxLength - prompt.tokens.length;
      if (policy.kind !== "tokens" || room >= settings.maxCompletionLength) return [prompt];
      if (room >= 1) {
        short += 1;
        return [prompt];
      }
      long.push(prompt);
      return [];
    });
  const prompts = {
    train: read(task.train),
    evaluation: read(task.evaluation),
    evaluations: Object.fromEntries(
      Object.entries(task.evaluations ?? {}).map(([name, questions]) => [name, read(questions)]),
    ),
  };
  const context = `the context of ${policy.maxLength} tokens`;
  if (long.length > 0) {
    const shown = long.slice(0, 5).map(({ id, tokens }) => `${show(id)} (${tokens.length})`);
    const more = long.length > shown.length ? ` and ${long.length - shown.length} more` : "";
    const which = `${long.length} prompts of task ${show(task.id)} fill ${context}: ${shown.join(", ")}${more}`;
    if (settings.longPrompts === "refuse") {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected prompts that leave room for an answer but ${which}; ` +
          'longPrompts: "drop" leaves them out',
      );
    }
    warn(`Left out: ${which}`);
  }
  const empty = [undefined, ...(task.mixture ?? []).map((part) => part.task)].find(
    (name) => !prompts.train.some((prompt) => name === undefined || prompt.task === name),
  );
  if (prompts.train.length === 0 || empty !== undefined) {
    const message = `Expected training prompts in task ${show(empty ?? task.id)} but none is left`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  if (short > 0) {
    warn(
      `${short} prompts of task ${show(task.id)} leave less than maxCompletionLength ` +
        `(${settings.maxCompletionLength}) of ${context}: answers to them are cut short`,
    );
  }
  return prompts;
}

function readable(question: Question, task: Task, tokenizer: Tokenizer | null): Prompt {
  try {
    return tokenized(question, tokenizer);
  } catch (cause) {
    if (!(cause instanceof FiresteelError) || cause.code !== "ERR_RANGE") throw cause;
    const message = `Expected a policy that can read task ${show(task.id)} but prompt ${show(question.id)}: ${cause.message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
}

/** Whether there are tokens for a text. */
export function reads(tokenizer: Tokenizer | null, text: string): boolean {
  if (tokenizer === null) return false;
  try {
    tokenizer.encode(text);
    return true;
  } catch (error) {
    if (error instanceof FiresteelError && error.code === "ERR_RANGE") return false;
    throw error;
  }
}
