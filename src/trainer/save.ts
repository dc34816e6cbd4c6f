import { existsSync } from "node:fs";
import { link, mkdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { damage, type FileRecord, recordFile } from "../files/fileRecord.js";
import { readSafetensors, writeSafetensors } from "../nn/safetensors.js";
import { type Checkpoint, type KnownFiles, type Retention, writeCheckpoint } from "./checkpoint.js";
import { printSystem } from "./printSystem.js";
import type { Run, StoredModel } from "./run.js";
import type { SavedRun } from "./savedRun.js";
import type { TrainSettings } from "./settings.js";

/** What a run is called, for its checkpoints. */
export interface RunNames {
  firesteel: string;
  policy: string;
  /** Where each model came from that the user chose: a folder, or "given". */
  models: Readonly<Record<string, string>>;
  source: unknown;
}

/**
 * Writes models, optimisers and everything else that the next step depends on.
 *
 * @returns the checkpoint's folder
 */
export async function saveRun(run: Run, names: RunNames, out: string): Promise<string> {
  const { begun, step, warmStartStep } = run.progress;
  const name = begun ? `checkpoint-${step}` : `warm-start-${warmStartStep}`;
  const body: SavedRun = {
    ...names,
    system: run.system.id,
    printed: printSystem(run.system),
    task: run.task.id,
    fingerprint: run.task.fingerprint ?? null,
    device: run.engine.device,
    settings: run.settings,
    progress: run.progress,
    state: run.state.toJson(),
  };
  const write = async (folder: string) => {
    const known: Record<string, FileRecord> = {};
    for (const [model, policy] of Object.entries(run.models)) {
      const target = join(folder, model);
      const same = run.stored.get(model);
      if (same !== undefined && (await linked(same, target))) {
        for (const [file, record] of Object.entries(same.files)) known[join(model, file)] = record;
        continue;
      }
      await mkdir(target);
      await policy.save(target);
    }
    for (const [model, optimizer] of Object.entries(run.optimizers)) {
      await writeSafetensors(join(folder, momentsOf(model)), await optimizer.state());
    }
    return known;
  };
  const files = await writeCheckpoint(out, name, body, write, retentionOf(run));
  const folder = join(out, name);
  noteStored(run, folder, files);
  return folder;
}

/** Which checkpoints stay. */
export function retentionOf({ settings, progress: { best } }: Run): Retention {
  const kept = settings.keepBest && best !== null ? `checkpoint-${best.step}` : null;
  return { last: settings.keepCheckpoints, best: kept };
}

const momentsOf = (model: string) => `${model}.optimizer.safetensors`;

/** Remembers where the weights of models that nothing trains lie, and what those files hold. */
function noteStored(run: Run, folder: string, files: KnownFiles): void {
  for (const model of Object.keys(run.models)) {
    if (model in run.optimizers) continue;
    const own = Object.entries(files).filter(([file]) => dirname(file) === model);
    const named = own.map(([file, record]) => [basename(file), record] as const);
    run.stored.set(model, { folder: join(folder, model), files: Object.fromEntries(named) });
  }
}

/**
 * Files that have not changed since another checkpoint, as further names of the same bytes. They outlive
 * its removal.
 *
 * @returns false where the file system cannot do that, or the files are gone or damaged: then nothing is
 *   left behind
 */
async function linked(from: StoredModel, to: string): Promise<boolean> {
  try {
    await mkdir(to);
    for (const [file, record] of Object.entries(from.files)) {
      await link(join(from.folder, file), join(to, file));
      // Damage that came since must not be taken for the weights.
      if (damage(await recordFile(join(to, file)), record) !== null) throw new Damaged();
    }
    return true;
  } catch (error) {
    const refused = (error as NodeJS.ErrnoException).code !== undefined;
    if (!refused && !(error instanceof Damaged)) throw error;
    await rm(to, { recursive: true, force: true });
    return false;
  }
}

class Damaged extends Error {}

/**
 * Puts the weights and moments of a checkpoint into a run.
 *
 * @param missing what is told of a model that the checkpoint does not have and that begins anew; without
 *   it that is an error
 */
export async function loadRun(
  run: Run,
  { folder, files }: Pick<Checkpoint<SavedRun>, "folder" | "files">,
  missing: ((warning: string) => void) | null,
): Promise<void> {
  const absent = (model: string, file: string) => {
    if (missing === null || existsSync(join(folder, file))) return false;
    missing(`${show(file)} is not in the checkpoint: model ${show(model)} begins anew with it`);
    return true;
  };
  for (const [model, policy] of Object.entries(run.models)) {
    if (!absent(model, model)) await policy.load(join(folder, model));
  }
  for (const [model, optimizer] of Object.entries(run.optimizers)) {
    if (absent(model, momentsOf(model))) continue;
    const { tensors } = await readSafetensors(join(folder, momentsOf(model)));
    optimizer.load(tensors);
  }
  if (missing === null) noteStored(run, folder, files);
}

/** Settings that decide nothing that a step computes. */
const free: readonly string[] = ["steps", "saveSteps", "keepCheckpoints"];

/**
 * In what the run that was saved differs from the one that is to go on. More steps are welcome where the
 * learning rate does not depend on their number.
 *
 * @throws FiresteelError ERR_OPTION where fewer steps are wanted than are done
 */
export function differencesFrom(saved: SavedRun, run: Run): string[] {
  const { settings } = run;
  const { step } = saved.progress;
  if (settings.steps < step) {
    const message = `Expected at least the ${step} steps that are done for train.steps but received ${settings.steps}`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const differences: string[] = [];
  const compare = (name: string, was: unknown, is: unknown, why = "") => {
    if (JSON.stringify(was) !== JSON.stringify(is)) {
      differences.push(`${name} was ${JSON.stringify(was)} and is ${JSON.stringify(is)}${why}`);
    }
  };
  compare("system", saved.system, run.system.id);
  compare("task", saved.task, run.task.id);
  if (
    saved.task === run.task.id &&
    (saved.fingerprint ?? null) !== (run.task.fingerprint ?? null)
  ) {
    differences.push(`the questions of task ${show(saved.task)} are others`);
  }
  compare("device", saved.device, run.engine.device);
  if (saved.system === run.system.id && saved.printed !== printSystem(run.system)) {
    differences.push(`the options of system ${show(saved.system)} are others`);
  }
  for (const key of Object.keys(settings) as (keyof TrainSettings)[]) {
    if (!free.includes(key)) compare(key, saved.settings[key], settings[key]);
  }
  const { lrSchedulerType, warmupRatio } = settings;
  if (lrSchedulerType !== "constant" || warmupRatio > 0) {
    const why = " (the learning rate's course ends with them)";
    compare("steps", saved.settings.steps, settings.steps, why);
  }
  return differences;
}
