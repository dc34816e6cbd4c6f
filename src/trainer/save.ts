import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { readSafetensors, writeSafetensors } from "../nn/safetensors.js";
import { writeCheckpoint } from "./checkpoint.js";
import { printSystem } from "./printSystem.js";
import type { Progress, Run } from "./run.js";
import type { TrainSettings } from "./settings.js";

/** What state.json holds of a run. */
export interface SavedRun {
  firesteel: string;
  system: string;
  /** The system as printed: what runs, whatever its name. */
  printed: string;
  task: string;
  policy: string;
  models: Readonly<Record<string, string>>;
  device: string;
  settings: TrainSettings;
  progress: Progress;
  state: Record<string, unknown>;
}

/** What a run is called, for its checkpoints. */
export interface RunNames {
  firesteel: string;
  policy: string;
  /** Where each model came from that the user chose: a folder, or "given". */
  models: Readonly<Record<string, string>>;
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
    device: run.engine.device,
    settings: run.settings,
    progress: run.progress,
    state: run.state.toJson(),
  };
  await writeCheckpoint(out, name, body, async (folder) => {
    for (const [model, policy] of Object.entries(run.models)) {
      await mkdir(join(folder, model));
      await policy.save(join(folder, model));
    }
    for (const [model, optimizer] of Object.entries(run.optimizers)) {
      await writeSafetensors(
        join(folder, `${model}.optimizer.safetensors`),
        await optimizer.state(),
      );
    }
  });
  return join(out, name);
}

/** Puts the weights and moments of a checkpoint's folder into a run. */
export async function loadRun(run: Run, folder: string): Promise<void> {
  for (const [model, policy] of Object.entries(run.models)) await policy.load(join(folder, model));
  for (const [model, optimizer] of Object.entries(run.optimizers)) {
    const { tensors } = await readSafetensors(join(folder, `${model}.optimizer.safetensors`));
    optimizer.load(tensors);
  }
}

/**
 * Refuses to go on with another run than the one that was saved. More steps are welcome, fewer
 * than are done are not.
 *
 * @throws FiresteelError ERR_OPTION naming every difference
 */
export function checkSame(saved: SavedRun, run: Run): void {
  const differences: string[] = [];
  const compare = (name: string, was: unknown, is: unknown) => {
    if (JSON.stringify(was) !== JSON.stringify(is)) {
      differences.push(`${name} was ${JSON.stringify(was)} and is ${JSON.stringify(is)}`);
    }
  };
  compare("system", saved.system, run.system.id);
  compare("task", saved.task, run.task.id);
  compare("device", saved.device, run.engine.device);
  if (saved.system === run.system.id && saved.printed !== printSystem(run.system)) {
    differences.push(`the options of system ${show(saved.system)} are others`);
  }
  for (const key of Object.keys(run.settings) as (keyof TrainSettings)[]) {
    if (key !== "steps") compare(key, saved.settings[key], run.settings[key]);
  }
  const { step } = saved.progress;
  if (run.settings.steps < step) {
    differences.push(`${step} steps are done and steps is ${run.settings.steps}`);
  }
  if (differences.length > 0) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected the settings of the run to resume but ${differences.join("; ")}`,
    );
  }
}
