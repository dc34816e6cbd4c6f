import type { Policy } from "./contract/policy.js";
import { invalid, show } from "./engine/checks.js";
import type { Engine } from "./engine/engine.js";
import { openPolicy } from "./policies/openPolicy.js";
import { findPolicy, policyFolder } from "./policies/policyFolder.js";

/** Models that a system leaves to the user, by the name it knows them by: a folder, or a policy. */
export type GivenModels = Readonly<Record<string, string | Policy>>;

/** The same, opened. */
export interface OpenedModels {
  readonly models: Readonly<Record<string, Policy>>;
  /** Where each came from, for checkpoints: its folder, or "given". */
  readonly names: Readonly<Record<string, string>>;
  /** Frees those that were opened here. */
  dispose(): void;
}

/**
 * Opens what was given as a folder. A run that goes on takes its models from its checkpoint, which holds
 * them all: the folders of the beginning may be gone.
 *
 * @throws FiresteelError ERR_OPTION where a run goes on with another folder; ERR_CHECKPOINT
 */
export async function openModels(
  engine: Engine,
  given: GivenModels,
  from: { folder: string; names: Readonly<Record<string, string>> } | null,
): Promise<OpenedModels> {
  const names: Record<string, string> = { ...from?.names };
  for (const [name, model] of Object.entries(given)) {
    if (typeof model !== "string") {
      names[name] ??= "given";
    } else if (from === null) {
      names[name] = await policyFolder(model);
    } else if (from.names[name] !== model && from.names[name] !== (await findPolicy(model))) {
      const expected = `${show(from.names[name])}, with which the run began,`;
      throw invalid("ERR_OPTION", `models.${name}`, expected, model);
    }
  }
  const models: Record<string, Policy> = {};
  const own: Policy[] = [];
  const dispose = () => {
    for (const model of own) model.dispose();
  };
  try {
    for (const [name, folder] of Object.entries(names)) {
      const model = given[name];
      if (typeof model === "object") {
        models[name] = model;
        continue;
      }
      const opened = await openPolicy(engine, from === null ? folder : `${from.folder}/${name}`);
      own.push(opened);
      models[name] = opened;
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { models, names, dispose };
}
