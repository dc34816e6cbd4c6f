import { type ReflectInfo, reflect } from "./blocks/inference/reflect.js";
import type { Prompt, Question } from "./contract/data.js";
import type { Policy } from "./contract/policy.js";
import type { InferenceContext } from "./contract/stage.js";
import type { Task } from "./contract/task.js";
import { aText, checkArguments, either, listOf } from "./engine/arguments.js";
import { checkKeys, invalid, show, throwIfAborted } from "./engine/checks.js";
import { aPolicy, aQuestion, aTask } from "./engine/contractKinds.js";
import { Engine } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { checkPlacement, type Placement } from "./engine/placement.js";
import { openTokenPolicy } from "./policies/openPolicy.js";
import { policyFolder } from "./policies/policyFolder.js";
import { namedTask } from "./taskSource.js";
import { reads, tokenized } from "./trainer/prompts.js";
import { taskForms } from "./trainer/taskForms.js";

/** What `solve` takes; without an engine the call has its own, and a policy that is an object brings one. */
export interface SolveOptions extends Placement {
  /** A folder with weights and a tokenizer, a run's folder (see `policyFolder`), or a policy. */
  policy: string | Policy;
  /** At least one; a text is a question of its own. */
  prompts: readonly (string | Question)[];
  /** Answers that are judged at most, and revised where not accepted; >= 0, default 0: the first answer stands. */
  reflect?: number;
  /** Whose forms of judging and reflection are used; default "arithmetic". */
  task?: string | Task;
  /** Actions of an answer at most, >= 1; default the task's. */
  maxCompletionLength?: number;
  signal?: AbortSignal;
}

/** How one prompt was answered. */
export interface Solution extends ReflectInfo {
  id: string;
  question: string;
}

const optionNames = [
  ...["policy", "prompts", "reflect", "task", "maxCompletionLength"],
  ...["engine", "device", "threads", "signal"],
];

/** Prompts that are answered together. */
const batchSize = 256;

/**
 * Answers prompts greedily and, with `reflect`, judges its own answers and revises what it does not
 * accept: SPARK's test-time procedure (arXiv 2509.22624). What `firesteel solve` calls.
 *
 * @returns one solution a prompt, in their order
 * @throws FiresteelError ERR_OPTION (also for a policy without tokenizer and for prompts that it cannot
 *   read or that are longer than its context, before anything is sampled), ERR_CHECKPOINT, ERR_NO_DEVICE,
 *   ERR_RANGE where a judge's prompt is longer than the context, ERR_ABORTED
 * @example
 * const [solution] = await solve({ policy: "runs/spark/checkpoint-50/policy", prompts: ["0123="], reflect: 2 });
 */
export async function solve(options: SolveOptions): Promise<Solution[]> {
  checkKeys("solve", options, optionNames);
  const { policy, prompts, engine, device, threads, task = "arithmetic" } = options;
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw invalid("ERR_OPTION", "prompts", "at least one question", prompts);
  }
  const given = typeof policy === "object" && policy !== null;
  if (!given && (typeof policy !== "string" || policy === "")) {
    throw invalid("ERR_OPTION", "policy", "a folder or a policy", policy);
  }
  checkPlacement(options);
  throwIfAborted(options.signal, "Solving");
  for (const [name, value] of Object.entries({ engine, device, threads })) {
    if (!given || value === undefined) continue;
    throw invalid("ERR_OPTION", name, "nothing (the policy has its own engine)", value);
  }
  checkArguments({ prompts }, { prompts: listOf(either(aText, aQuestion)) });
  const theTask = typeof task === "string" ? namedTask(task) : task;
  const inference = reflect({ rounds: options.reflect ?? 0 });
  if (given) return solveWith(policy, theTask, inference, options);
  const own = engine ?? new Engine({ device, threads });
  try {
    const opened = await openTokenPolicy(own, await policyFolder(policy));
    try {
      return await solveWith(opened, theTask, inference, options);
    } finally {
      opened.dispose();
    }
  } finally {
    if (engine === undefined) own.dispose();
  }
}

async function solveWith(
  policy: Policy,
  task: Task,
  inference: ReturnType<typeof reflect>,
  options: SolveOptions,
): Promise<Solution[]> {
  checkArguments({ policy, task }, { policy: aPolicy, task: aTask });
  if (policy.tokenizer === null) {
    const where = typeof options.policy === "string" ? options.policy : "the policy given";
    const message = `Expected a policy with a tokenizer but ${where} has none`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const { maxCompletionLength = task.settings.maxCompletionLength, signal = null } = options;
  if (!Number.isInteger(maxCompletionLength) || maxCompletionLength < 1) {
    throw invalid("ERR_OPTION", "maxCompletionLength", "an integer >= 1", maxCompletionLength);
  }
  const ctx: InferenceContext = {
    ...taskForms(task),
    tokenize: (question) => tokenized(question, policy.tokenizer),
    async sample({ prompts, counts, greedy = false }) {
      const perPrompt = prompts.map((_, i) => (typeof counts === "number" ? counts : counts[i]!));
      return policy.sample({
        prompts,
        counts: perPrompt,
        // Greedy choices read no random numbers.
        streams: perPrompt.flatMap((count, p) =>
          Array.from({ length: count }, (_, i) => [p, i] as const),
        ),
        temperature: 1,
        maxCompletionLength,
        greedy,
        stop: [],
        hook: null,
        signal,
      });
    },
  };
  if ((options.reflect ?? 0) > 0) {
    inference.inspect?.({
      ...{ numGenerations: 1, maxCompletionLength, rewards: Object.keys(task.rewards) },
      ...{ binaryRewards: task.binaryRewards, ...taskForms(task) },
      reads: (text) => reads(policy.tokenizer, text),
    });
  }
  const readable = options.prompts.map((prompt, i) => readPrompt(prompt, i, policy, ctx));
  const solutions: Solution[] = [];
  for (let begin = 0; begin < readable.length; begin += batchSize) {
    const part = readable.slice(begin, begin + batchSize);
    const solved = await inference.run(part, ctx);
    for (const [i, { info }] of solved.entries()) {
      const { id, messages } = part[i]!;
      const question = messages.map(({ content }) => content).join("");
      solutions.push({ id, question, ...(info as unknown as ReflectInfo) });
    }
  }
  return solutions;
}

function readPrompt(
  given: string | Question,
  index: number,
  policy: Policy,
  ctx: InferenceContext,
): Prompt {
  const question: Question =
    typeof given === "string"
      ? {
          id: String(index + 1),
          messages: [{ role: "user", content: given }],
          label: null,
          columns: {},
        }
      : given;
  const name = `prompt ${show(question.id)}`;
  let prompt: Prompt;
  try {
    prompt = ctx.tokenize(question);
  } catch (cause) {
    if (!(cause instanceof FiresteelError)) throw cause;
    throw new FiresteelError("ERR_OPTION", `${name}: ${cause.message}`, { cause });
  }
  const { length } = prompt.tokens;
  if (length === 0 || length >= policy.maxLength) {
    const expected = `1 to ${policy.maxLength - 1} tokens (the policy's context)`;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected ${expected} in ${name} but received ${length}`,
    );
  }
  return prompt;
}
