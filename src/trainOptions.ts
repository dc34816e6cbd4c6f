import type { Policy } from "./contract/policy.js";
import type { RunCallback } from "./contract/run.js";
import type { Sampler } from "./contract/sampler.js";
import type { System } from "./contract/system.js";
import type { Task } from "./contract/task.js";
import type { DatasetOptions } from "./data/datasetTask.js";
import {
  aFlag,
  aFunction,
  anInteger,
  anObject,
  aPath,
  aSignal,
  aText,
  checkArguments,
  either,
  type Kind,
  listOf,
  optional,
  recordOf,
} from "./engine/arguments.js";
import { checkChoice, checkKeys, invalid } from "./engine/checks.js";
import { aPolicy, aSampler, aSystem, aTask } from "./engine/contractKinds.js";
import type { Engine, EngineOptions } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { checkPlacement } from "./engine/placement.js";
import type { GivenModels } from "./givenModels.js";
import { type PolicyDType, policyDTypes } from "./policies/token/config.js";
import { type RecorderOptions, recorderNames } from "./report/recorders.js";
import type { OpenAISamplerOptions } from "./samplers/openaiOptions.js";
import type { MixedPart, TaskSource } from "./taskSource.js";
import { settingNames, type TrainSettings } from "./trainer/settings.js";
import type { TrainJob } from "./trainer/train.js";

/** What `train` takes: any of a run's settings, and what runs where. */
export interface TrainOptions
  extends Partial<TrainSettings>,
    RecorderOptions,
    Pick<TrainJob, "signal" | "abort" | "onWarning"> {
  /** Default "spark"; "grpo" where a task, data or a mixture is given. */
  system?: string | System;
  /** An id, ids with weights ("a:2,b:1"), or a task; default: the one on which the system is shown. */
  task?: string | Task;
  /** Instead of a task: questions in files. */
  data?: DatasetOptions;
  /** Instead of a task: several, whose prompts are drawn by weight. */
  mix?: readonly MixedPart[];
  /**
   * "tiny" (default): fresh weights. A folder (also of a run: its best checkpoint where keepBest left one,
   * else its newest) or a policy: its weights, by default without warm start.
   */
  policy?: string | Policy;
  /**
   * Of weights and activations: "f32" or "bf16", which halves their memory and keeps float32 masters in
   * the optimiser. Default: as the policy's folder says; "f32" for fresh weights.
   */
  dtype?: PolicyDType;
  /** Models that the system leaves to you, by name: a folder or a policy, e.g. { teacher: "runs/x/policy" }. */
  models?: GivenModels;
  /** Told of every step, as a callback's `step`. */
  onStep?: RunCallback["step"];
  /** Told how the warm start goes on, as a callback's `warmStart`. */
  onWarmStart?: RunCallback["warmStart"];
  /** Who else looks on. */
  callbacks?: readonly RunCallback[];
  /** Where rollouts come from: a sampler, or the server of an `OpenAISampler`; default: the policy itself. */
  sampler?: Sampler | OpenAISamplerOptions;
  /** Default: one for this run. A policy that is an object needs its engine. */
  engine?: Engine;
  /** As in `EngineOptions`; not beside `engine`. */
  device?: EngineOptions["device"];
  /** As in `EngineOptions`; not beside `engine`. */
  threads?: number;
  /** The run's folder; default: nothing is written. */
  out?: string;
  /**
   * A run's folder, to go on with from its newest checkpoint, or the folder of one of its checkpoints.
   * Its settings hold; `steps` may be raised where the learning rate is constant. Another folder in `out`
   * leaves the run as it is and goes on there; a checkpoint that is not the newest needs that.
   */
  resume?: string;
  /** Resumes with other settings all the same: warned of, and written into system.txt and checkpoints. */
  force?: boolean;
}

/** Options that a JSON file can hold, besides its settings. */
const writtenNames = [
  ...["system", "task", "data", "mix", "policy", "dtype", "models", "sampler"],
  ...["device", "threads", "out", "resume", "force"],
  ...recorderNames,
];
const liveNames = ["engine", "signal", "abort", "onStep", "onWarmStart", "onWarning", "callbacks"];

const serverOrSampler: Kind = (value) =>
  (isObject(value) && "sample" in value ? aSampler : anObject)(value);

/** Of a run's option, unlike of a tensor's size, a number out of range is wrong use: ERR_OPTION. */
const threadCount: Kind = (value) => {
  const flaw = anInteger(1, 1024)(value);
  return flaw === null ? null : { at: "", expected: flaw.expected, received: value };
};

/** What the options are where they are given; settings have rules of their own. */
const kinds = {
  out: optional(aPath),
  resume: optional(aPath),
  onStep: optional(aFunction),
  onWarmStart: optional(aFunction),
  onWarning: optional(aFunction),
  threads: optional(threadCount),
  callbacks: optional(listOf(anObject)),
  force: optional(aFlag),
  system: optional(either(aText, aSystem)),
  task: optional(either(aText, aTask)),
  policy: optional(either(aText, aPolicy)),
  models: optional(recordOf(either(aPath, aPolicy))),
  sampler: optional(serverOrSampler),
  signal: optional(aSignal),
  abort: optional(aSignal),
};

/** What a config file may say. */
export const configNames: readonly string[] = [...writtenNames, ...settingNames];

/**
 * What the types promise, for callers without types and for config files, and what goes together.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function checkTrainOptions(options: TrainOptions): void {
  checkKeys("train", options, [...configNames, ...liveNames]);
  checkArguments(options as Readonly<Record<keyof typeof kinds, unknown>>, kinds);
  const { policy, models = {} } = options;
  if (options.dtype !== undefined) {
    checkChoice("dtype", options.dtype, policyDTypes);
    if (isObject(policy)) {
      throw invalid("ERR_OPTION", "dtype", "nothing (the policy has its own)", options.dtype);
    }
  }
  if (options.force !== undefined && options.resume === undefined) {
    const message =
      "Expected a run to resume (force goes on with other settings) but there is none";
    throw new FiresteelError("ERR_OPTION", message);
  }
  checkPlacement(options);
  if ([policy, ...Object.values(models)].some(isObject) && options.engine === undefined) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected the policy's engine in engine but it is missing",
    );
  }
}

/** The id of the system that is trained where none is given: SPARK where it is shown, else plain GRPO. */
export function defaultSystem({ task, data, mix }: TaskSource): string {
  return [task, data, mix].every((given) => given === undefined) ? "spark" : "grpo";
}

/** Whether a value is given as an object, not by its name or folder. */
export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
