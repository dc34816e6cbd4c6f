import type { Actions, Prompt, Question, Tokenizer, Trajectory } from "./data.js";
import type { DeviceParameter, DeviceTensor } from "./device.js";
import type { RandomStream, SampleRequest } from "./sampler.js";
import type { Demonstration } from "./task.js";

/** One row to be scored: a Trajectory is one. */
export interface PolicyRow {
  readonly prompt: Prompt;
  readonly actions: Actions;
  /** Actions with mask 0 are context only: log-prob 0, no gradient. Default: all 1. */
  readonly mask?: Uint8Array;
}

/** What scoring is to compute beside the log-probs. */
export interface ScoringOptions {
  /** Divides the logits. Default 1, the only one for policies without logits. */
  temperature?: number;
  /** Also the entropy of every action's distribution. Default false. */
  entropy?: boolean;
  /** Also the means of every action's distribution, of a policy whose actions are Gaussian. Default false. */
  mean?: boolean;
  /** Also the value head's estimates; ERR_OPTION where there is no value head. Default false. */
  value?: boolean;
  /** Also the logits: vocabulary times actions in memory. Default false. */
  logits?: boolean;
}

/** Actions of all rows lie one after the other; prompts are not scored. T = all actions, R = rows. */
export interface Scores {
  /** Host copy, [R + 1]: row r holds actions rowOffsets[r] .. rowOffsets[r + 1] - 1. */
  readonly rowOffsets: Int32Array;
  /** f32 [T], of the temperature-scaled, untruncated distribution. */
  readonly logProb: DeviceTensor;
  /** f32 [T], nats; null unless asked for, and where it does not depend on the weights. */
  readonly entropy: DeviceTensor | null;
  /** f32 [T, width]; only where asked for. 0 for actions with mask 0. */
  readonly mean?: DeviceTensor | null;
  /** f32 [T]: the return that is expected before each action is chosen; null or absent unless asked for. */
  readonly value?: DeviceTensor | null;
  /** f32 [T, V], as the network gives them: not divided by the temperature. As `value`. */
  readonly logits?: DeviceTensor | null;
}

/** d loss / d scores, each of its score's shape, none in its memory. What is null or absent is 0. */
export interface ScoreGradient {
  readonly logProb?: DeviceTensor | null;
  readonly entropy?: DeviceTensor | null;
  readonly value?: DeviceTensor | null;
  readonly logits?: DeviceTensor | null;
  readonly mean?: DeviceTensor | null;
}

/** Scores that remember how they came about. Ends with exactly one of backward and dispose. */
export interface DifferentiableScores extends Scores {
  /** Accumulates into every parameter's gradient and frees the intermediates and the scores. */
  backward(gradient: ScoreGradient): void;
  /** Frees without a gradient. */
  dispose(): void;
}

/** Something that acts and can be trained. Same weights, same row: same bits, in any batch. */
export interface Policy {
  readonly kind: Actions["kind"];
  /** null where actions are not text. */
  readonly tokenizer: Tokenizer | null;
  /** Prompt and completion together, in actions. */
  readonly maxLength: number;
  /** Whether it estimates the value of states, with parameters of its own. Default false. */
  readonly valueHead?: boolean;
  readonly parameters: readonly DeviceParameter[];
  /**
   * Refuses a question that it could not be asked, before work starts. Not there: what it lacks shows
   * when it is sampled.
   */
  checkQuestion?(question: Question): void;
  /** Samples counts[i] rollouts for prompts[i], in this order; members of a prompt share its prefix. */
  sample(request: SampleRequest): Promise<Trajectory[]>;
  /** Log-probs under the current weights, without a gradient. The caller disposes of the tensors. */
  score(rows: readonly PolicyRow[], options?: ScoringOptions): Scores;
  /** As `score`, with what a backward pass needs. */
  forward(rows: readonly PolicyRow[], options?: ScoringOptions): DifferentiableScores;
  /**
   * Adds the gradient of the supervised loss, a mean over the demonstrations, to the parameters'.
   *
   * @param how.stream decides what the loss draws, such as times and noise
   * @param how.measure whether the loss is read, which waits for the device
   * @returns the loss, or null where it is not measured
   */
  imitate(
    demonstrations: readonly Demonstration<Prompt>[],
    how: { stream: RandomStream; measure: boolean },
  ): Promise<number | null>;
  /** An independent copy with the same weights: a reference, an old policy, a teacher. */
  clone(): Policy;
  /** Writes weights and configuration as files into an existing folder. */
  save(directory: string): Promise<void>;
  /**
   * Replaces the weights in place by those of a folder that `save` wrote. ERR_CHECKPOINT if they do not fit.
   * A value head that one of the two lacks is left out.
   */
  load(directory: string): Promise<void>;
  /** Frees weights, gradients and caches. The policy cannot be used afterwards. */
  dispose(): void;
}
