import { reward } from "../blocks/reward/reward.js";
import { rollout } from "../blocks/rollout/rollout.js";
import type { Phase, System } from "../contract/system.js";
import {
  anObject,
  aText,
  checkArguments,
  type Kind,
  listOf,
  oneOf,
  orNull,
} from "../engine/arguments.js";
import { checkKeys, show } from "../engine/checks.js";
import {
  aLossTerm,
  anUpdate,
  aStage,
  plannedStages,
  someModels,
  someStages,
} from "../engine/contractKinds.js";
import { FiresteelError } from "../engine/error.js";
import { phaseBlocks, phaseParts } from "../options/phaseBlocks.js";

/** One block, several in order, or none. */
type Some<T> = T | readonly T[];

/** A phase as it is written down: what is left out is the plain choice. */
export interface PhaseDefinition {
  name?: string;
  /** Default "policy". */
  model?: string;
  /** Default: the task's training prompts. */
  source?: Phase["source"];
  /** Default `rollout()`. */
  rollout?: Phase["rollout"];
  probe?: Some<Phase["probe"][number]>;
  /** Default `reward()`. */
  reward?: Phase["reward"];
  filter?: Some<Phase["filter"][number]>;
  advantage?: Phase["advantage"];
  credit?: Some<Phase["credit"][number]>;
  rows?: Phase["rows"];
  select?: Some<Phase["select"][number]>;
  weight?: Some<Phase["weight"][number]>;
  loss: Phase["loss"];
  update?: Phase["update"];
  observe?: Some<Phase["observe"][number]>;
}

interface SystemHead {
  id: string;
  title: string;
  /** null where the system has no paper of its own. */
  arxiv: string | null;
  evidence: System["evidence"];
  /** What it trains; default "tokens". */
  policy?: System["policy"];
  /** The embedded task on which it is shown; default "arithmetic". */
  task?: string;
  models?: System["models"];
  stages?: System["stages"];
  inference?: System["inference"];
}

/** What `defineSystem` takes: who the system is, and its one phase, or its `phases`. */
export type SystemDefinition = SystemHead &
  ((PhaseDefinition & { phases?: never }) | { phases: readonly PhaseDefinition[] });

const head = {
  id: aText,
  title: aText,
  arxiv: orNull(aText),
  evidence: oneOf(["high", "medium", "low"]),
  policy: aText,
  task: aText,
  models: someModels,
  stages: orNull(plannedStages),
  inference: orNull(aStage),
};

const headKeys = [
  ...["id", "title", "arxiv", "evidence", "policy", "task"],
  ...["models", "stages", "inference"],
];
/** What the parts of a phase must be where they are given. */
const phaseKinds: Readonly<Partial<Record<keyof PhaseDefinition, Kind>>> = {
  name: aText,
  model: aText,
  source: aStage,
  rollout: aStage,
  probe: someStages,
  reward: aStage,
  filter: someStages,
  advantage: aStage,
  credit: someStages,
  rows: aStage,
  select: someStages,
  weight: someStages,
  loss: listOf(aLossTerm),
  update: anUpdate,
  observe: someStages,
};
const phaseKeys = ["name", "model", "update", ...phaseParts];

/**
 * A system from its choice at each step. A system with one phase is written flat; one with more lists
 * `phases`.
 *
 * @throws FiresteelError ERR_OPTION for unknown keys, no loss, a loss that reads an advantage nobody
 *   makes, two phases of one name, a phase or stage that names what does not exist
 *
 * @example
 * defineSystem({
 *   id: "my-grpo", title: "GRPO without the scale", arxiv: null, evidence: "low",
 *   advantage: groupNormalize({ scale: "none" }),
 *   loss: [surrogate({ aggregation: "token-mean" })],
 * });
 */
export function defineSystem(definition: SystemDefinition): System {
  checkArguments({ definition }, { definition: anObject });
  const flat = !("phases" in definition && definition.phases !== undefined);
  checkKeys("defineSystem", definition, [...headKeys, ...(flat ? phaseKeys : ["phases"])]);
  const { id, title, arxiv, evidence, policy = "tokens", task = "arithmetic" } = definition;
  const { models = {}, stages = null, inference = null } = definition;
  checkArguments({ id, title, arxiv, evidence, policy, task, models, stages, inference }, head);
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(id)) {
    throw refused("a system's id", "lower-case words joined by hyphens", id);
  }
  const written = flat ? [definition as PhaseDefinition] : definition.phases!;
  checkArguments({ phases: written }, { phases: listOf(anObject) });
  const phases = written.map((phase, i) => definePhase(phase, `phase${i + 1}`, flat));
  if (phases.length === 0) throw refused(`${id}.phases`, "at least one phase", "none");

  const names = phases.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw refused(`${id}.phases`, "different names", twice);
  for (const phase of phases) {
    const known = ["policy", ...Object.keys(models)];
    if (!known.includes(phase.model)) {
      throw refused(`${phase.name}.model`, `one of ${known.map(show).join(", ")}`, phase.model);
    }
    for (const { block, needed } of modelsAsked(phase)) {
      if (!known.includes(needed) && needed !== "reference") {
        throw refused(`${id}.models`, `a model ${show(needed)} (${block} asks it)`, "none");
      }
    }
    for (const { block, coupling, logits = false, modelLogits = [] } of phase.loss) {
      const reads = logits || modelLogits.length > 0;
      if (!reads || coupling === "token" || coupling === "row") continue;
      throw refused(`${block}.coupling`, '"token" or "row" (it reads logits)', coupling);
    }
  }
  for (const stage of stages ?? []) {
    const unknown = stage.phases.find((name) => !names.includes(name));
    if (unknown !== undefined) {
      throw refused(
        `stage ${show(stage.name)}`,
        `phases among ${names.map(show).join(", ")}`,
        unknown,
      );
    }
  }
  const named = { id, title, arxiv, evidence, policy, task };
  return Object.freeze({ ...named, models, phases, stages, inference });
}

function definePhase(phase: PhaseDefinition, fallback: string, flat: boolean): Phase {
  if (!flat) checkKeys(fallback, phase, phaseKeys);
  const name = phase.name ?? (flat ? "policy" : fallback);
  if (!Array.isArray(phase.loss) || phase.loss.length === 0) {
    throw refused(`${name}.loss`, "at least one loss term", phase.loss);
  }
  const blocks = Object.entries(phaseKinds).flatMap(([part, kind]) =>
    phase[part as keyof PhaseDefinition] == null ? [] : [[part, kind] as const],
  );
  checkArguments({ ...phase } as Record<string, unknown>, Object.fromEntries(blocks));
  const columns = phase.loss.flatMap((term) => term.columns);
  if (columns.includes("advantage") && (phase.advantage ?? null) === null) {
    throw refused(`${name}.advantage`, "an advantage (a loss reads it)", phase.advantage);
  }
  return Object.freeze({
    name,
    model: phase.model ?? "policy",
    source: phase.source ?? null,
    rollout: phase.rollout ?? rollout(),
    probe: several(phase.probe),
    reward: phase.reward ?? reward(),
    filter: several(phase.filter),
    advantage: phase.advantage ?? null,
    credit: several(phase.credit),
    rows: phase.rows ?? null,
    select: several(phase.select),
    weight: several(phase.weight),
    loss: phase.loss,
    update: phase.update ?? {},
    observe: several(phase.observe),
  });
}

/** Models beside the learning one, by the block that asks them. */
function modelsAsked(phase: Phase): { block: string; needed: string }[] {
  const asked = phaseBlocks(phase).map(({ block: { block, models = [] } }) => ({ block, models }));
  const logits = phase.loss.map(({ block, modelLogits = [] }) => ({ block, models: modelLogits }));
  return [...asked, ...logits].flatMap(({ block, models }) =>
    models.map((needed) => ({ block, needed })),
  );
}

function several<T>(blocks: Some<T> | null | undefined): readonly T[] {
  if (blocks === undefined || blocks === null) return [];
  return Array.isArray(blocks) ? blocks : [blocks as T];
}

function refused(where: string, expected: string, value: unknown): FiresteelError {
  const message = `Expected ${expected} for ${where} but received ${show(value)}`;
  return new FiresteelError("ERR_OPTION", message);
}
