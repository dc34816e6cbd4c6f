import type { Policy } from "./contract/policy.js";
import type { Sampler } from "./contract/sampler.js";
import type { System } from "./contract/system.js";
import type { Task } from "./contract/task.js";
import { checkKeys, nearest, show } from "./engine/checks.js";
import { Engine, type EngineOptions } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { CharTokenizer } from "./policies/token/charTokenizer.js";
import { tinyConfig } from "./policies/token/config.js";
import { TokenPolicy } from "./policies/token/tokenPolicy.js";
import { EmbeddedSampler } from "./samplers/embedded.js";
import { systems } from "./systems/index.js";
import { tasks } from "./tasks/index.js";
import { readCheckpoint } from "./trainer/checkpoint.js";
import { streamAt } from "./trainer/random.js";
import type { SavedRun } from "./trainer/save.js";
import { settingNames, type TrainSettings, trainSettings } from "./trainer/settings.js";
import { type TrainJob, type TrainResult, trainPolicy } from "./trainer/train.js";
import { version } from "./version.js";

/** What `train` takes: any of a run's settings, and what runs where. */
export interface TrainOptions
  extends Partial<TrainSettings>,
    Pick<TrainJob, "signal" | "onStep" | "onWarmStart" | "onWarning"> {
  /** Default "grpo". */
  system?: string | System;
  /** Default "arithmetic". */
  task?: string | Task;
  /** "tiny" (default): fresh weights. A folder or a policy: its weights, by default without warm start. */
  policy?: string | Policy;
  /** Where rollouts come from; default: the policy itself, in this process. */
  sampler?: Sampler;
  /** Default: one for this run. A policy that is an object needs its engine. */
  engine?: Engine;
  device?: EngineOptions["device"];
  threads?: number;
  /** The run's folder; default: nothing is written. */
  out?: string;
  /** A run's folder, to go on with. Its settings hold; `steps` may be raised. */
  resume?: string;
}

const optionNames = [
  ...["system", "task", "policy", "sampler", "engine", "device", "threads", "out", "resume"],
  ...["signal", "onStep", "onWarmStart", "onWarning"],
];

/** @throws FiresteelError ERR_OPTION with the nearest id */
export function namedSystem(id: string): System {
  return named("system", id, systems);
}

/** @throws FiresteelError ERR_OPTION with the nearest id */
export function namedTask(id: string): Task {
  return named("task", id, tasks);
}

function named<T>(what: string, id: string, known: Readonly<Record<string, T>>): T {
  if (Object.hasOwn(known, id)) return known[id]!;
  const near = nearest(id, Object.keys(known));
  const hint = near === undefined ? "" : ` (did you mean ${show(near)}?)`;
  throw new FiresteelError(
    "ERR_OPTION",
    `Expected a ${what} among ${Object.keys(known).join(", ")} but received ${show(id)}${hint}`,
  );
}

/**
 * Trains a policy: what `firesteel train` calls.
 *
 * @throws FiresteelError ERR_OPTION, ERR_CHECKPOINT, ERR_NO_DEVICE, ERR_SAMPLER, ERR_REWARD, ...
 * @example
 * const { metrics } = await train({ system: "grpo", task: "arithmetic", steps: 20, out: "runs/first" });
 */
export async function train(options: TrainOptions = {}): Promise<TrainResult> {
  checkKeys("train", options, [...optionNames, ...settingNames]);
  const { system, task, policy, sampler, engine, device, threads, out, resume, ...rest } = options;
  const { signal, onStep, onWarmStart, ...others } = rest;
  const { onWarning = (warning) => process.emitWarning(warning), ...settings } = others;
  if (resume !== undefined && out !== undefined && out !== resume) {
    const message = `Expected no other folder than ${show(resume)} for out but received ${show(out)}`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  if (engine !== undefined && (device !== undefined || threads !== undefined)) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected either engine or device and threads, not both",
    );
  }
  if (typeof policy === "object" && engine === undefined) {
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected the policy's engine in engine but it is missing",
    );
  }
  const from = resume === undefined ? null : await readCheckpoint<SavedRun>(resume);
  const saved = from?.body;
  const theSystem =
    typeof system === "object" ? system : namedSystem(system ?? saved?.system ?? "grpo");
  const theTask = typeof task === "object" ? task : namedTask(task ?? saved?.task ?? "arithmetic");
  const origin = saved?.policy ?? (typeof policy === "object" ? "given" : (policy ?? "tiny"));
  const defined = Object.fromEntries(Object.entries(settings).filter(([, v]) => v !== undefined));
  const { settings: theSettings } = trainSettings(theTask, {
    ...(saved?.settings ?? { warmStart: origin === "tiny" }),
    ...defined,
  });

  const chosen = device === undefined || device === "auto" ? (saved?.device ?? "auto") : device;
  const theEngine = engine ?? new Engine({ device: chosen as EngineOptions["device"], threads });
  let own: Policy | null = null;
  try {
    if (typeof policy !== "object") {
      const folder = from === null ? origin : `${from.folder}/policy`;
      own =
        folder === "tiny"
          ? tinyPolicy(theEngine, theTask, theSettings.seed)
          : await TokenPolicy.open(theEngine, folder);
    }
    const thePolicy = own ?? (policy as Policy);
    return await trainPolicy({
      engine: theEngine,
      system: theSystem,
      task: theTask,
      policy: thePolicy,
      sampler: sampler ?? new EmbeddedSampler(thePolicy),
      settings: theSettings,
      names: { firesteel: version, policy: origin },
      out: resume ?? out ?? null,
      resume: from,
      signal,
      onStep,
      onWarmStart,
      onWarning,
    });
  } finally {
    own?.dispose();
    if (engine === undefined) theEngine.dispose();
  }
}

/** Fresh weights in the shape that was measured for the task. */
function tinyPolicy(engine: Engine, task: Task, seed: number): Policy {
  if (task.alphabet === null) {
    const message = `Expected a folder for policy: task ${show(task.id)} has no closed alphabet`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const tokenizer = new CharTokenizer(task.alphabet);
  const config = tinyConfig(tokenizer.vocabularySize, task.policy);
  return TokenPolicy.create(engine, config, { tokenizer, seed: streamAt(seed, "policy")[0] });
}
