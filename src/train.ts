import { resolve } from "node:path";
import type { Policy } from "./contract/policy.js";
import type { Sampler } from "./contract/sampler.js";
import type { System } from "./contract/system.js";
import { checkChoice, invalid, show } from "./engine/checks.js";
import { Engine, type EngineOptions } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { type OpenedModels, openModels } from "./givenModels.js";
import type { FlowPolicy } from "./policies/flow/flowPolicy.js";
import { findPolicy, policyFolder } from "./policies/policyFolder.js";
import type { TokenPolicy } from "./policies/token/tokenPolicy.js";
import { recorderNames, recorders } from "./report/recorders.js";
import { EmbeddedSampler } from "./samplers/embedded.js";
import { OpenAISampler } from "./samplers/openai.js";
import { openFolder, tinyPolicy } from "./startPolicy.js";
import { systems } from "./systems/index.js";
import { type TaskSource, taskOf, writtenSource } from "./taskSource.js";
import { type Checkpoint, readCheckpoint } from "./trainer/checkpoint.js";
import { refuseOverridden } from "./trainer/overridden.js";
import { checkSavedRun, type SavedRun } from "./trainer/savedRun.js";
import { settingNames, type TrainSettings, trainSettings } from "./trainer/settings.js";
import { type TrainResult, trainPolicy } from "./trainer/train.js";
import { checkTrainOptions, defaultSystem, isObject, type TrainOptions } from "./trainOptions.js";
import { version } from "./version.js";

export type { TrainOptions } from "./trainOptions.js";

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
  checkTrainOptions(options);
  const { policy, dtype, engine, device, threads, out, resume } = options;
  const { onWarning = (warning) => process.emitWarning(warning) } = options;
  const from = resume === undefined ? null : await readCheckpoint<SavedRun>(resume);
  const saved = from === null ? undefined : checkSavedRun(from.body, from.folder);
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
  const { system = saved?.system ?? defaultSystem(options) } = options;
  const theSystem = isObject(system) ? system : namedSystem(system);
  const { task, data, mix } = options;
  const none = task === undefined && data === undefined && mix === undefined;
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

/** A sampler as it is, that of a server, or the policy itself. */
async function samplerOf(
  { sampler, signal, abort }: TrainOptions,
  policy: Policy,
  onRetry: (message: string) => void,
): Promise<Sampler> {
  if (sampler === undefined) return new EmbeddedSampler(policy);
  if ("sample" in sampler) return sampler;
  const signals = [signal, abort].filter((one) => one !== undefined);
  return OpenAISampler.connect({ onRetry, ...sampler }, AbortSignal.any(signals));
}
