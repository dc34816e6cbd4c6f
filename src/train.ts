import { resolve } from "node:path";
import type { Policy } from "./contract/policy.js";
import type { RunCallback } from "./contract/run.js";
import type { Sampler } from "./contract/sampler.js";
import type { System } from "./contract/system.js";
import type { Task } from "./contract/task.js";
import { MAX_SYMBOLS } from "./data/alphabet.js";
import type { DatasetOptions } from "./data/datasetTask.js";
import { checkBoolean, checkChoice, checkKeys, invalid, show } from "./engine/checks.js";
import { Engine, type EngineOptions } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { type GivenModels, type OpenedModels, openModels } from "./givenModels.js";
import { flowConfig } from "./policies/flow/config.js";
import { FlowPolicy } from "./policies/flow/flowPolicy.js";
import { checkFlowDType, openPolicy } from "./policies/openPolicy.js";
import { findPolicy, policyFolder } from "./policies/policyFolder.js";
import { CharTokenizer } from "./policies/token/charTokenizer.js";
import { type PolicyDType, policyDTypes, tinyConfig } from "./policies/token/config.js";
import { TokenPolicy } from "./policies/token/tokenPolicy.js";
import { type RecorderOptions, recorderNames, recorders } from "./report/recorders.js";
import { EmbeddedSampler } from "./samplers/embedded.js";
import { OpenAISampler } from "./samplers/openai.js";
import type { OpenAISamplerOptions } from "./samplers/openaiOptions.js";
import { systems } from "./systems/index.js";
import { type MixedPart, type TaskSource, taskOf, writtenSource } from "./taskSource.js";
import { type Checkpoint, readCheckpoint } from "./trainer/checkpoint.js";
import { refuseOverridden } from "./trainer/overridden.js";
import { streamAt } from "./trainer/random.js";
import type { SavedRun } from "./trainer/save.js";
import { settingNames, type TrainSettings, trainSettings } from "./trainer/settings.js";
import { type TrainJob, type TrainResult, trainPolicy } from "./trainer/train.js";
import { version } from "./version.js";

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
  onWarmStart?: RunCallback["warmStart"];
  /** Who else looks on. */
  callbacks?: readonly RunCallback[];
  /** Where rollouts come from: a sampler, or the server of an `OpenAISampler`; default: the policy itself. */
  sampler?: Sampler | OpenAISamplerOptions;
  /** Default: one for this run. A policy that is an object needs its engine. */
  engine?: Engine;
  device?: EngineOptions["device"];
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

/** What a config file may say. */
export const configNames: readonly string[] = [...writtenNames, ...settingNames];

/** The id of what trains where nothing is said of it. */
export function defaultSystem({ task, data, mix }: TaskSource): string {
  return (task ?? data ?? mix) === undefined ? "spark" : "grpo";
}

/** The system of an id. @throws FiresteelError ERR_OPTION with the nearest id */
export function namedSystem(id: string): System {
  return systems[checkChoice("system", id, Object.keys(systems))]!;
}

/**
 * Trains a policy: what `firesteel train` calls.
 *
 * @throws FiresteelError ERR_OPTION, ERR_CHECKPOINT, ERR_NO_DEVICE, ERR_SAMPLER, ERR_REWARD, ...
 * @example
 * const { metrics } = await train({ system: "grpo", task: "arithmetic", steps: 20, out: "runs/first" });
 */
export async function train(options: TrainOptions = {}): Promise<TrainResult> {
  checkOptions(options);
  const { policy, dtype, engine, device, threads, out, resume } = options;
  const { onWarning = (warning) => process.emitWarning(warning) } = options;
  if (options.force !== undefined && resume === undefined) {
    const message =
      "Expected a run to resume (force goes on with other settings) but there is none";
    throw new FiresteelError("ERR_OPTION", message);
  }
  if (engine !== undefined && (device !== undefined || threads !== undefined)) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected either engine or device and threads, not both",
    );
  }
  if ([policy, ...Object.values(options.models ?? {})].some(isObject) && engine === undefined) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected the policy's engine in engine but it is missing",
    );
  }
  const from = resume === undefined ? null : await readCheckpoint<SavedRun>(resume);
  const saved = from?.body;
  if (from !== null && from.run === null && out === undefined) {
    const message = `Expected a new folder for out: ${from.folder} is not the newest checkpoint of its run`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  // A run goes on in place also where its folder is written otherwise.
  const folder = goesOnIn(from, out) ?? out ?? null;
  const recording = recorders(
    folder,
    Object.fromEntries(recorderNames.map((name) => [name, options[name]])),
  );
  if (saved !== undefined && typeof policy === "string" && policy !== saved.policy) {
    const same = policy !== "tiny" && (await findPolicy(policy)) === saved.policy;
    const expected = `${show(saved.policy)}, with which the run began,`;
    if (!same) throw invalid("ERR_OPTION", "policy", expected, policy);
  }
  const { task, data, mix } = options;
  const none = task === undefined && data === undefined && mix === undefined;
  const { system = saved?.system ?? defaultSystem(options) } = options;
  const theSystem = isObject(system) ? system : namedSystem(system);
  const source = none && saved?.source ? (saved.source as TaskSource) : { task, data, mix };
  const theTask = await taskOf(source, saved?.task ?? theSystem.task);
  const origin = saved?.policy ?? (await originOf(policy));
  const given = settingNames
    .map((name) => [name, options[name as keyof TrainSettings]] as const)
    .filter(([, value]) => value !== undefined);
  refuseOverridden(theSystem, Object.fromEntries(given));
  const settings = trainSettings(theTask, {
    ...(saved?.settings ?? { warmStart: origin === "tiny" }),
    ...Object.fromEntries(given),
  });

  const chosen = device === undefined || device === "auto" ? (saved?.device ?? "auto") : device;
  const theEngine = engine ?? new Engine({ device: chosen as EngineOptions["device"], threads });
  const valueHead = theSystem.phases.some(({ loss }) => loss.some(({ value }) => value === true));
  let own: TokenPolicy | FlowPolicy | null = null;
  let opened: OpenedModels | null = null;
  try {
    if (!isObject(policy)) {
      const folder = from === null ? origin : `${from.folder}/policy`;
      own =
        folder === "tiny"
          ? tinyPolicy(theEngine, theTask, settings.seed, { dtype, valueHead })
          : await openFolder(
              theEngine,
              folder,
              from === null ? { dtype } : {},
              valueHead,
              onWarning,
            );
      const weights = own.kind === "flow" ? "f32" : own.config.dtype;
      if (dtype !== undefined && weights !== dtype) {
        const expected = `${show(weights)}, with which the run began,`;
        throw invalid("ERR_OPTION", "dtype", expected, dtype);
      }
    }
    const thePolicy = own ?? (policy as Policy);
    const names = saved?.models ?? {};
    opened = await openModels(
      theEngine,
      options.models ?? {},
      from === null ? null : { folder: from.folder, names },
    );
    return await trainPolicy({
      engine: theEngine,
      system: theSystem,
      task: theTask,
      policy: thePolicy,
      sampler: await samplerOf(options, thePolicy, onWarning),
      settings,
      given: opened.models,
      names: {
        ...{ firesteel: version, policy: origin },
        ...{ models: opened.names, source: writtenSource(source) },
      },
      out: folder,
      resume: from,
      force: options.force,
      signal: options.signal,
      abort: options.abort,
      callbacks: [
        { step: options.onStep, warmStart: options.onWarmStart },
        ...(options.callbacks ?? []),
        ...recording,
      ],
      onWarning,
    });
  } finally {
    own?.dispose();
    opened?.dispose();
    if (engine === undefined) theEngine.dispose();
  }
}

/** What a run's checkpoints call its beginning. @throws FiresteelError ERR_CHECKPOINT */
async function originOf(policy: TrainOptions["policy"] = "tiny"): Promise<string> {
  if (isObject(policy)) return "given";
  return policy === "tiny" ? policy : policyFolder(policy);
}

/** The folder of the run that is resumed, unless another one is wanted. */
function goesOnIn(from: Checkpoint<SavedRun> | null, out: string | undefined): string | null {
  const run = from?.run ?? null;
  return run !== null && (out === undefined || resolve(out) === resolve(run)) ? run : null;
}

/** What the types promise, for callers without types and for config files. */
function checkOptions(options: TrainOptions): void {
  checkKeys("train", options, [...configNames, ...liveNames]);
  for (const name of ["out", "resume"] as const) {
    const value = options[name];
    if (value !== undefined && (typeof value !== "string" || value === "")) {
      throw invalid("ERR_OPTION", name, "a folder", value);
    }
  }
  for (const name of ["onStep", "onWarmStart", "onWarning"] as const) {
    const value = options[name];
    if (value !== undefined && typeof value !== "function") {
      throw invalid("ERR_OPTION", name, "a function", value);
    }
  }
  const { threads, callbacks = [] } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw invalid("ERR_OPTION", "threads", "an integer in [1, 1024]", threads);
  }
  if (!Array.isArray(callbacks) || !callbacks.every(isObject)) {
    throw invalid("ERR_OPTION", "callbacks", "an array of callbacks", callbacks);
  }
  if (options.force !== undefined) checkBoolean("force", options.force);
  const { system, task, policy } = options;
  if (isObject(system) && !(Array.isArray(system.phases) && system.phases.length > 0)) {
    throw invalid("ERR_OPTION", "system", "an id or what defineSystem returns", system);
  }
  if (isObject(task) && !(Array.isArray(task.train) && isObject(task.settings))) {
    throw invalid("ERR_OPTION", "task", "an id or a task", task);
  }
  if (policy !== undefined && typeof policy !== "string" && !isObject(policy)) {
    throw invalid("ERR_OPTION", "policy", '"tiny", a folder or a policy', policy);
  }
  if (options.sampler !== undefined && !isObject(options.sampler)) {
    throw invalid("ERR_OPTION", "sampler", "a sampler or { url, ... }", options.sampler);
  }
  if (options.dtype !== undefined) {
    checkChoice("dtype", options.dtype, policyDTypes);
    if (isObject(policy)) {
      throw invalid("ERR_OPTION", "dtype", "nothing (the policy has its own)", options.dtype);
    }
  }
  const { models = {} } = options;
  if (!isObject(models) || Array.isArray(models)) {
    throw invalid("ERR_OPTION", "models", "an object of folders and policies", models);
  }
  for (const [name, model] of Object.entries(models)) {
    if (typeof model === "string" || isObject(model)) continue;
    throw invalid("ERR_OPTION", `models.${name}`, "a folder or a policy", model);
  }
  for (const name of ["signal", "abort"] as const) {
    const signal: unknown = options[name];
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw invalid("ERR_OPTION", name, "an AbortSignal", signal);
    }
  }
}

/** A sampler as it is, that of a server, or the policy itself. */
async function samplerOf(
  { sampler, signal }: TrainOptions,
  policy: Policy,
  onRetry: (message: string) => void,
): Promise<Sampler> {
  if (sampler === undefined) return new EmbeddedSampler(policy);
  if ("sample" in sampler) return sampler;
  return OpenAISampler.connect({ onRetry, ...sampler }, signal);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** A folder's policy, with a value head where the system learns one. */
async function openFolder(
  engine: Engine,
  folder: string,
  options: { dtype?: PolicyDType },
  valueHead: boolean,
  onWarning: (warning: string) => void,
): Promise<TokenPolicy | FlowPolicy> {
  const policy = await openPolicy(engine, folder, options);
  if (!valueHead || policy.kind === "flow" || policy.valueHead) return policy;
  policy.dispose();
  onWarning(`${folder} has no value head: the run begins with a fresh one`);
  return TokenPolicy.open(engine, folder, { ...options, valueHead });
}

/** Fresh weights in the shape that was measured for the task. */
function tinyPolicy(
  engine: Engine,
  task: Task,
  seed: number,
  { dtype = "f32", valueHead }: { dtype?: PolicyDType; valueHead: boolean },
): TokenPolicy | FlowPolicy {
  const weights = { seed: streamAt(seed, "policy")[0] };
  const { policy: shape } = task;
  if (shape.kind === "flow") {
    checkFlowDType(dtype);
    return FlowPolicy.create(engine, flowConfig(shape), weights);
  }
  if (task.alphabet === null) {
    const message =
      `Expected a folder for policy (--policy DIR): the texts of task ${show(task.id)} have no closed ` +
      `alphabet of at most ${MAX_SYMBOLS} symbols`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const tokenizer = new CharTokenizer(task.alphabet);
  const config = { ...tinyConfig(tokenizer.vocabularySize, shape), dtype, valueHead };
  return TokenPolicy.create(engine, config, { tokenizer, ...weights });
}
