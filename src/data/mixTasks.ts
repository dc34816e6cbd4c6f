import type { Question } from "../contract/data.js";
import type { RewardFunction } from "../contract/reward.js";
import type { Task, WarmStartStage } from "../contract/task.js";
import { aText, checkArguments, listOf, optional, withFields } from "../engine/arguments.js";
import { invalid, show } from "../engine/checks.js";
import { aTask } from "../engine/contractKinds.js";
import { FiresteelError } from "../engine/error.js";
import { weightedIndex } from "../statistics/weightedIndex.js";
import { rewardRows } from "../verifiers/rewardRows.js";

/** One of several tasks, and how often its prompts are drawn beside the others'. */
export interface WeightedTask {
  readonly task: Task;
  /** > 0, relative to the others'; default 1. */
  readonly weight?: number;
}

/**
 * Several tasks as one. A prompt is drawn from a task by its weight, from each task in an order and
 * through epochs of its own; it is judged by its own task's rewards alone, the others are null for it.
 *
 * `eval/accuracy` is over all held-out questions, `eval/TASK/accuracy` over those of one. The reward
 * that says that an answer is right has the first task's name for it. Steps, batch sizes and rates
 * are the first task's, the completion length is the longest, the tiny policy the widest; warm starts
 * are mixed stage by stage.
 *
 * @throws FiresteelError ERR_OPTION for no tasks, tasks of one id, other kinds of actions, or a reward
 *   whose name is taken
 * @example
 * train({ task: mixTasks([{ task: tasks.arithmetic, weight: 2 }, { task: await datasetTask(...) }]) })
 */
export function mixTasks(parts: readonly WeightedTask[], id?: string): Task {
  checkArguments(
    { parts, id },
    { parts: listOf(withFields({ task: aTask })), id: optional(aText) },
  );
  const name = id ?? mixId(parts);
  const [first, ...others] = parts.map(({ task }) => task);
  if (first === undefined) {
    throw new FiresteelError("ERR_OPTION", "Expected tasks to mix but there are none");
  }
  const all = [first, ...others];
  for (const [i, task] of all.entries()) {
    const weight: unknown = parts[i]!.weight ?? 1;
    if (typeof weight !== "number" || !(weight > 0 && Number.isFinite(weight))) {
      throw invalid("ERR_OPTION", `the weight of task ${show(task.id)}`, "a number > 0", weight);
    }
    if (all.findIndex((other) => other.id === task.id) < i) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected tasks of different ids but ${show(task.id)} comes twice`,
      );
    }
    if (task.kind !== first.kind) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected tasks over ${first.kind}, as ${show(first.id)}, but ${show(task.id)} is over ${task.kind}`,
      );
    }
    if (task.train.length === 0) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected training prompts in task ${show(task.id)} but there are none`,
      );
    }
    if (task.mixture !== undefined) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected single tasks but ${show(task.id)} is a mixture`,
      );
    }
  }
  const { accuracy } = first;
  const unjudged = all.find((task) => task.accuracy === null || task.rewardWeights !== undefined);
  if (accuracy === null || unjudged !== undefined) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected tasks whose answers are right or wrong, by rewards that count alike, but those of ` +
        `${show((unjudged ?? first).id)} are not`,
    );
  }
  const widest = all.reduce((a, b) =>
    b.policy.layers * b.policy.width > a.policy.layers * a.policy.width ? b : a,
  );
  const alphabets = all.map(({ alphabet }) => alphabet);
  return {
    id: name,
    title: all.map(({ title }) => title).join("; "),
    kind: first.kind,
    alphabet: alphabets.includes(null) ? null : [...new Set(alphabets.join(""))].join(""),
    train: all.flatMap((task) => task.train.map((question) => owned(question, task))),
    evaluation: all.flatMap((task) => task.evaluation.map((question) => owned(question, task))),
    evaluations: Object.fromEntries(all.flatMap(evaluationsOf)),
    fingerprint: all.map((task) => task.fingerprint ?? "").join(),
    mixture: parts.map(({ task, weight = 1 }) => ({ task: task.id, weight, forms: task.forms })),
    rewards: mixedRewards(all, accuracy),
    binaryRewards: all.every(({ binaryRewards }) => binaryRewards),
    accuracy,
    warmStart: mixedWarmStart(all),
    policy: widest.policy,
    settings: {
      ...first.settings,
      maxCompletionLength: Math.max(...all.map(({ settings }) => settings.maxCompletionLength)),
    },
  };
}

function mixId(parts: readonly WeightedTask[]): string {
  return parts.map(({ task, weight = 1 }) => `${task.id}:${weight}`).join("+");
}

/** With the task's name, in the id too: two files may count their rows alike. */
function owned(question: Question, { id }: Task): Question {
  const own = question.id.startsWith(`${id}/`) ? question.id : `${id}/${question.id}`;
  return { ...question, id: own, task: id };
}

function evaluationsOf(task: Task): [string, readonly Question[]][] {
  const further = Object.entries(task.evaluations ?? {});
  return [
    [`eval/${task.id}/accuracy`, task.evaluation],
    ...further.map(([name, set]): [string, readonly Question[]] => [`${task.id}/${name}`, set]),
  ].map(([name, set]) => [
    name as string,
    (set as Question[]).map((question) => owned(question, task)),
  ]);
}

/** Every reward by name, each judging the prompts of the tasks that have it. */
function mixedRewards(all: readonly Task[], accuracy: string): Task["rewards"] {
  const byName = new Map<string, Map<string, RewardFunction>>();
  for (const task of all) {
    for (const [own, reward] of Object.entries(task.rewards)) {
      const name = own === task.accuracy ? accuracy : own;
      if (name === accuracy && own !== task.accuracy) {
        throw new FiresteelError(
          "ERR_OPTION",
          `Expected another name for the reward ${show(own)} of task ${show(task.id)}: ` +
            "in this mixture it says that an answer is right",
        );
      }
      const byTask = byName.get(name) ?? new Map<string, RewardFunction>();
      byName.set(name, byTask.set(task.id, reward));
    }
  }
  const known = all.map(({ id }) => id);
  return Object.fromEntries([...byName].map(([name, byTask]) => [name, dispatched(byTask, known)]));
}

function dispatched(
  byTask: ReadonlyMap<string, RewardFunction>,
  known: readonly string[],
): RewardFunction {
  return async (ctx) => {
    const lost = ctx.prompts.find(({ task }) => task === undefined || !known.includes(task));
    if (lost !== undefined) {
      throw new FiresteelError(
        "ERR_REWARD",
        `Expected a task among ${known.map(show).join(", ")} for prompt ${show(lost.id)} ` +
          `but received ${show(lost.task)}`,
      );
    }
    const values: (number | null)[] = ctx.prompts.map(() => null);
    for (const [task, reward] of byTask) {
      const rows = ctx.prompts.flatMap((prompt, i) => (prompt.task === task ? [i] : []));
      if (rows.length === 0) continue;
      const own = await reward(rewardRows(ctx, rows));
      if (!Array.isArray(own) || own.length !== rows.length) {
        throw new FiresteelError(
          "ERR_REWARD",
          `Expected ${rows.length} values from task ${show(task)} but received ${show(own)}`,
        );
      }
      for (const [i, row] of rows.entries()) values[row] = own[i]!;
    }
    return values;
  };
}

/**
 * The first stages of all tasks as one, then the second: as many steps as together, by their shares.
 */
function mixedWarmStart(all: readonly Task[]): WarmStartStage[] {
  const count = Math.max(...all.map(({ warmStart }) => warmStart.length));
  return Array.from({ length: count }, (_, i) => {
    const stages = all.flatMap(({ id, warmStart }) =>
      warmStart[i] === undefined ? [] : [{ id, stage: warmStart[i] }],
    );
    const lengths = stages.map(({ stage }) => stage.steps);
    const longest = stages.reduce((a, b) => (b.stage.steps > a.stage.steps ? b : a)).stage;
    return {
      name: [...new Set(stages.map(({ stage }) => stage.name))].join(" and "),
      steps: lengths.reduce((sum, length) => sum + length, 0),
      batchSize: Math.max(...stages.map(({ stage }) => stage.batchSize)),
      learningRate: longest.learningRate,
      draw(uniform) {
        const { id, stage } = stages[weightedIndex(lengths, uniform())]!;
        const demonstration = stage.draw(uniform);
        return { ...demonstration, question: { ...demonstration.question, task: id } };
      },
    };
  });
}
