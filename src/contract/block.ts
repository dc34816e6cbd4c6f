import type { QuestionForms } from "./forms.js";
import type { Capability } from "./sampler.js";
import type { StepContext } from "./stage.js";

/** One step in the way of the data. */
export type Stage<A, B> = (x: A, ctx: StepContext) => B | Promise<B>;

/** A number that moves from `from` to `to` over the first `steps` steps and stays there. */
export interface LinearSchedule {
  schedule: "linear";
  from: number;
  to: number;
  steps: number;
}

/** A number, or its course over the run; what blocks take where an option may move. */
export type Scheduled = number | LinearSchedule;

/** A value that an option can have without further structure. */
export type OptionPrimitive = number | string | boolean | null;
/** What an option can hold, as it is printed and compared: JSON. */
export type OptionValue =
  | OptionPrimitive
  | readonly OptionValue[]
  | { readonly [key: string]: OptionValue };

/** One option of a block as it will be used, for printing. */
export interface DescribedOption {
  readonly name: string;
  readonly value: OptionValue;
  readonly default: OptionValue;
  readonly description: string;
}

/** What a factory makes: a mechanism with its options, all of them visible. */
export interface Block {
  /** The mechanism's name, as under firesteel/blocks. */
  readonly block: string;
  readonly options: readonly DescribedOption[];
  /** What it requires of the sampler. */
  readonly requires?: readonly Capability[];
  /** Models that it asks, beside the one that learns, e.g. "reference". */
  readonly models?: readonly string[];
  /**
   * Called before the first rollout. Throws FiresteelError ERR_OPTION where the block cannot work in
   * this run; returns what a user should know about this combination, in one sentence each.
   */
  readonly inspect?: (run: RunFacts) => readonly string[];
}

/** What is known about a run before its first rollout. */
export interface RunFacts {
  readonly numGenerations: number;
  readonly maxCompletionLength: number;
  /** Names of the task's rewards. */
  readonly rewards: readonly string[];
  /** Whether every reward of the task is 0 or 1. */
  readonly binaryRewards: boolean;
  /** Whether the policy estimates values. */
  readonly valueHead?: boolean;
  /** Whether every training question has an answer to learn from (`StepContext.demonstrate`). */
  readonly demonstrations?: boolean;
  /** Names of the models that stages can reach; undefined where nothing is trained. */
  readonly models?: readonly string[];
  /** Of the task; null where it has none of its own, undefined where there is no task. */
  readonly forms?: QuestionForms | null;
  /** Of the tasks of a mixture, by their ids; undefined where it is none. */
  readonly formsByTask?: Readonly<Record<string, QuestionForms | null>>;
  /** Whether the policy has tokens for a text; undefined where there is no policy. */
  readonly reads?: (text: string) => boolean;
}

export interface StageBlock<A, B> extends Block {
  readonly run: Stage<A, B>;
}
