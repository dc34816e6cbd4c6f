import type { Actions, Question } from "./data.js";
import type { QuestionForms } from "./forms.js";
import type { RewardFunction } from "./reward.js";

/** One supervised example, as policies of a kind learn from it; `Q` is Prompt for a policy to read. */
export type Demonstration<Q extends Question = Question> =
  | TextDemonstration<Q>
  | SampleDemonstration<Q>;

/** For token policies: cross entropy over the completion and its end, given the question. */
export interface TextDemonstration<Q extends Question = Question> {
  readonly question: Q;
  readonly completion: string;
  readonly target?: undefined;
}

/** For flow policies: a sample of the data, learned by flow matching. */
export interface SampleDemonstration<Q extends Question = Question> {
  readonly question: Q;
  readonly target: Float32Array;
  readonly completion?: undefined;
}

/** Consecutive supervised steps with one learning-rate schedule and one kind of data. */
export interface WarmStartStage {
  readonly name: string;
  readonly steps: number;
  readonly batchSize: number;
  /** Corners of a piecewise linear function of the step within the stage, from 0; constant beyond. */
  readonly learningRate: readonly { readonly step: number; readonly rate: number }[];
  /** One demonstration, drawn with `uniform` alone. */
  readonly draw: (uniform: () => number) => Demonstration;
}

/** Measured choices for a task; every one can be overridden for a run. */
export interface TaskSettings {
  readonly steps: number;
  readonly promptsPerStep: number;
  readonly numGenerations: number;
  readonly temperature: number;
  readonly maxCompletionLength: number;
  readonly minibatchSize: number;
  readonly numIterations: number;
  readonly learningRate: number;
  readonly maxGradNorm: number;
  readonly evalSamples: number;
  /** What evaluations are compared by; default "eval/accuracy", which a task without right answers lacks. */
  readonly bestMetric?: string;
}

/** Shape of the token policy that a task was measured with. */
export interface PolicyShape {
  readonly kind?: "tokens";
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly hidden: number;
}

/** Shape of the flow policy that a task was measured with. */
export interface FlowShape {
  readonly kind: "flow";
  /** Elements of a sample. */
  readonly width: number;
  /** Numbers that a question's column `condition` stands for: classes, or features. */
  readonly conditionWidth: number;
  readonly hidden: number;
  /** Hidden layers. */
  readonly layers: number;
}

/** One of the tasks of a mixture. */
export interface MixedTask {
  /** Its id, which its questions have as their `task`. */
  readonly task: string;
  /** > 0, relative to the others'. */
  readonly weight: number;
  /** How its questions are put to a judge and to a reviser; without: in English. */
  readonly forms?: QuestionForms;
}

/** Something to learn: prompts, held-out prompts, rewards and how to begin. */
export interface Task {
  readonly id: string;
  readonly title: string;
  readonly kind: Actions["kind"];
  /**
   * Every symbol of its texts, for a policy that is made for it; null where the vocabulary is open or
   * actions are no text.
   */
  readonly alphabet: string | null;
  readonly train: readonly Question[];
  /** Of questions that come from files: a run goes on only with the same. */
  readonly fingerprint?: string;
  /**
   * Several tasks in one: how often each one's prompts are drawn, by the `task` of the questions. Weights are
   * relative. Default: one set of prompts.
   */
  readonly mixture?: readonly MixedTask[];
  readonly evaluation: readonly Question[];
  /**
   * Further held-out questions, by the metric that their share of right answers is reported as, e.g.
   * "judge/pointwise_accuracy".
   */
  readonly evaluations?: Readonly<Record<string, readonly Question[]>>;
  /** How its questions are put to a judge and to a reviser; without: in English. */
  readonly forms?: QuestionForms;
  readonly rewards: Readonly<Record<string, RewardFunction>>;
  /** Factor of each reward in the sum, 1 where not given; 0: reported alone. A system may say otherwise. */
  readonly rewardWeights?: Readonly<Record<string, number>>;
  /** Whether every reward is 0 or 1. */
  readonly binaryRewards: boolean;
  /**
   * Which reward says that an answer is right (> 0.5), for eval/accuracy. null: answers are not right or
   * wrong, and eval/rewards/NAME/mean of greedy samples stand for it.
   */
  readonly accuracy: string | null;
  /**
   * What a completion answers, by which answers are told apart in a majority vote; null: nothing.
   * Default: the whole text.
   */
  readonly answer?: (completion: string) => string | null;
  readonly warmStart: readonly WarmStartStage[];
  /**
   * A right answer to one of its questions, drawn with `uniform` alone where there are several; what "sft"
   * learns from. Without it labels that are text are the answers.
   */
  readonly demonstrate?: (question: Question, uniform: () => number) => string;
  readonly policy: PolicyShape | FlowShape;
  readonly settings: TaskSettings;
}
