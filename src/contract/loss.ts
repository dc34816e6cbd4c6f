import type { Block } from "./block.js";
import type { Trajectory } from "./data.js";
import type { DeviceEngine, DeviceTensor } from "./device.js";
import type { Measure } from "./metrics.js";

/** Counts of the whole optimiser step, so that parts of it add up to exactly the whole. */
export interface LossScale {
  /** Actions with mask 1. */
  readonly trainedTokens: number;
  readonly rows: number;
  /** Rows with at least one action of mask 1. */
  readonly activeRows: number;
  readonly groups: number;
  /** Groups with at least one action of mask 1. */
  readonly activeGroups: number;
}

/** The rows of one micro-batch, scored. T actions, R rows; device tensors are f32 [T] unless said. */
export interface LossBatch {
  readonly engine: DeviceEngine;
  readonly rows: readonly Trajectory[];
  /** Rows of group g: groupOffsets[g] .. groupOffsets[g + 1] - 1. */
  readonly groupOffsets: Int32Array;
  readonly rowOffsets: Int32Array;
  /** u8, host. */
  readonly mask: Uint8Array;
  readonly logProb: DeviceTensor;
  readonly entropy: DeviceTensor | null;
  /** f32 [T, width], where a term reads means. */
  readonly mean?: DeviceTensor | null;
  /** The value head's estimate before each action; null unless a term asks. The old ones are a column. */
  readonly value: DeviceTensor | null;
  /** [T, V], not divided by the temperature; null unless a term asks. */
  readonly logits: DeviceTensor | null;
  /** Of the policy that the step's rollouts were scored with. */
  readonly oldLogProb: Float32Array;
  /** By model name, of the models that the phase's terms name. */
  readonly modelLogProb: Readonly<Record<string, Float32Array>>;
  /** [T * width], where a term reads means: of the policy that the rollouts were scored with. */
  readonly oldMean?: Float32Array;
  /** The same of the models that the phase's terms name. */
  readonly modelMean?: Readonly<Record<string, Float32Array>>;
  /** [T, V] by model name, as `logits`, of the models whose logits a term names. */
  readonly modelLogits: Readonly<Record<string, DeviceTensor>>;
  /** What the log-probs' logits were divided by. */
  readonly temperature: number;
  readonly scale: LossScale;
  /** The run's; 0 where it is not known, as of recorded rollouts. */
  readonly maxCompletionLength: number;
  readonly step: number;
}

/**
 * What a term makes of a micro-batch: its loss, the gradients with respect to what it reads, and sums for
 * metrics. Device tensors are f32 [T] unless said; null is a gradient of 0.
 */
export interface LossResult {
  /** f64 [1]; the parts of an optimiser step add up to its loss. */
  readonly loss: DeviceTensor;
  /** d loss / d logProb. */
  readonly dLogProb: DeviceTensor | null;
  /** d loss / d entropy. */
  readonly dEntropy: DeviceTensor | null;
  /** d loss / d mean, f32 [T, width]. */
  readonly dMean?: DeviceTensor | null;
  /** d loss / d value. */
  readonly dValue?: DeviceTensor | null;
  /** [T, V], not in the memory of `logits`. */
  readonly dLogits?: DeviceTensor | null;
  /** f64; read once at the end of the step, then named by `decode`. */
  readonly metrics: DeviceTensor | null;
  /** Names what `metrics` holds, once the sums of the micro-batches are added. */
  decode(values: Float64Array): Record<string, Measure>;
}

/** One term of a phase's objective; terms are added. */
export interface LossTerm extends Block {
  /**
   * What it must see at once. A step over micro-batches scores all its rows first and evaluates terms over
   * groups and pairs once, on all of them; other terms see one micro-batch of whole rows at a time.
   */
  readonly coupling: "token" | "row" | "group" | "pair";
  /** Frozen or other models whose log-probs it reads, e.g. "reference". */
  readonly models: readonly string[];
  /** Whether it reads the entropy with a gradient. */
  readonly entropy: boolean;
  /** Whether it reads the means of Gaussian actions (flow), with a gradient. Default false. */
  readonly mean?: boolean;
  /** Whether it reads the values with a gradient. Default false. */
  readonly value?: boolean;
  /** Whether it reads the logits with a gradient: coupling "token" or "row" only. Default false. */
  readonly logits?: boolean;
  /** Whether even whole groups cannot be evaluated apart: it reads sums over the step. Default false. */
  readonly whole?: boolean;
  /** Models whose logits it reads, without a gradient, e.g. "teacher". Needs the same vocabulary. */
  readonly modelLogits?: readonly string[];
  /** Columns that the rows must have, e.g. "advantage". */
  readonly columns: readonly string[];
  /**
   * The loss of these rows with its gradients. It only enqueues: reading a tensor here would make the run
   * wait.
   */
  evaluate(batch: LossBatch): LossResult;
}
