import type { Group, Prompt, Trajectory } from "../contract/data.js";
import type { RewardFunction } from "../contract/reward.js";
import type { StepContext } from "../contract/stage.js";
import type { Phase, System } from "../contract/system.js";
import { checkChoice, show } from "../engine/checks.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { nameIds } from "../nn/random.js";
import { phaseBlocks } from "../options/phaseBlocks.js";
import type { Measures } from "../trainer/metrics.js";
import { uniformAt } from "../trainer/random.js";
import { MemoryStateStore } from "../trainer/stateStore.js";
import type { Rollout } from "./rolloutFile.js";

/** Models whose log-probs a file of rollouts can hold. */
const recordedModels = ["reference"];

/**
 * The phase of a system that can be computed from recorded rollouts.
 *
 * @throws FiresteelError ERR_OPTION where it asks for more than a file can give
 */
export function offlinePhase(system: System, name?: string): Phase {
  const names = system.phases.map((phase) => phase.name);
  if (name === undefined && names.length > 1) {
    const message = `Expected one of ${names.map(show).join(", ")} for phase (${system.id} has several) but received undefined`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const phase =
    system.phases[name === undefined ? 0 : names.indexOf(checkChoice("phase", name, names))]!;
  const needs = (block: string, what: string) =>
    new FiresteelError(
      "ERR_OPTION",
      `Expected a system that recorded rollouts are enough for but ${block} of ${system.id} ${what}`,
    );
  const probe = phase.probe[0] ?? phase.rows;
  if (probe) throw needs(probe.block, "asks the policy");
  for (const { at, block } of phaseBlocks(phase)) {
    const model = at === "loss" ? undefined : block.models?.[0];
    if (model !== undefined) throw needs(block.block, `asks the model ${show(model)}`);
  }
  for (const { block, models, value, logits, mean, coupling, whole } of phase.loss) {
    if (value || logits) throw needs(block, "reads values or logits");
    if (mean) throw needs(block, "reads the means of its steps");
    // A file has its rollouts in one order; a pair has the chosen one first.
    if (coupling === "pair") throw needs(block, "compares pairs");
    if (whole === true) throw needs(block, "reads the whole file at once");
    const model = models.find((model) => !recordedModels.includes(model));
    if (model !== undefined) throw needs(block, `reads the model ${show(model)}`);
  }
  return phase;
}

/**
 * What blocks have to say about the file's rewards.
 *
 * @param recorded the rollouts as the file has them, without what the reward plan adds
 * @throws FiresteelError ERR_OPTION
 */
export function inspectOffline(
  phase: Phase,
  recorded: readonly Trajectory[],
  rewarded: readonly Trajectory[],
): string[] {
  const facts = {
    numGenerations: 0,
    maxCompletionLength: 0,
    rewards: [...new Set(recorded.flatMap(({ rewards }) => Object.keys(rewards)))],
    binaryRewards: rewarded.every(({ reward }) => reward === null || reward === 0 || reward === 1),
  };
  return phaseBlocks(phase).flatMap(({ block }) => [...(block.inspect?.(facts) ?? [])]);
}

/** Fields that the phase's loss reads and a rollout may lack. */
export function missingField(phase: Phase, rollout: Rollout): string | null {
  if (rollout.refLogProbs === null && phase.loss.some(({ models }) => models.length > 0)) {
    return "refLogProbs (the loss has a KL to the reference)";
  }
  if (rollout.entropies === null && phase.loss.some(({ entropy }) => entropy)) {
    return "entropies (the loss has an entropy bonus)";
  }
  const read = phase.loss.flatMap(({ columns }) => columns);
  if (rollout.samplerLogProbs === null && read.includes("samplerLogProb")) {
    return "samplerLogProbs (the loss corrects for the sampler)";
  }
  return null;
}

const noTokens = new Int32Array(0);

/**
 * What statistics need of each rollout: everything but its log-probs. What is equal is shared, so that
 * a rollout takes a few hundred bytes whatever its length.
 */
export class LightTrajectories {
  readonly all: Trajectory[] = [];
  readonly #prompts = new Map<string | number, Prompt>();
  readonly #masks = new Map<number, Uint8Array>();

  add({ group, reward, rewards, mask, finish }: Rollout): void {
    this.all.push({
      id: this.all.length,
      prompt: this.#prompt(group),
      actions: { kind: "tokens", length: mask.length, ids: noTokens },
      mask: this.#mask(mask),
      columns: {},
      keys: { prompt: group },
      rewards: rewards ?? { reward: reward ?? null },
      reward: null,
      text: "",
      finish,
      policyVersion: 0,
      info: {},
    });
  }

  #prompt(group: string | number): Prompt {
    const known = this.#prompts.get(group);
    if (known !== undefined) return known;
    const prompt = { id: `${group}`, messages: [], label: null, columns: {}, tokens: noTokens };
    this.#prompts.set(group, prompt);
    return prompt;
  }

  #mask(mask: Uint8Array): Uint8Array {
    if (mask.includes(0)) return mask;
    const known = this.#masks.get(mask.length);
    if (known !== undefined) return known;
    this.#masks.set(mask.length, mask);
    return mask;
  }
}

/** What stages can reach where there is no policy. */
export function offlineContext(
  engine: Engine,
  rows: readonly Trajectory[],
  measures: Measures,
): StepContext {
  const refuse = (what: string) => (): never => {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected stages that do not ${what}: the rollouts are recorded`,
    );
  };
  const names = new Set(rows.flatMap((row) => Object.keys(row.rewards)));
  const recorded =
    (name: string): RewardFunction =>
    ({ trajectories }) =>
      trajectories.map((t) => rows[t.id]!.rewards[name] ?? null);
  return {
    engine,
    settings: { promptsPerStep: 0, numGenerations: 0, temperature: 1, maxCompletionLength: 0 },
    prompts: refuse("draw prompts"),
    tokenize: refuse("tokenize"),
    sample: refuse("sample"),
    fork: refuse("fork"),
    score: refuse("score"),
    values: refuse("estimate values"),
    demonstrate: refuse("demonstrate"),
    reward: refuse("reward"),
    rewards: Object.fromEntries([...names].map((name) => [name, recorded(name)])),
    forms: null,
    models: {},
    state: new MemoryStateStore(),
    uniform: uniformAt(0, "stage", 1, 0),
    uniformOf: (name) => uniformAt(0, "stage", 1, 0, ...nameIds(name)),
    measure: measures.add.bind(measures),
    step: 1,
    epoch: 0,
    signal: new AbortController().signal,
  };
}

/** Rows of equal group, wherever they stand, in the order in which the groups appear. */
export function groupedRows(rows: readonly Trajectory[]): Group[] {
  const groups = new Map<string | number, Trajectory[]>();
  for (const row of rows) {
    const key = row.keys.prompt!;
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [row]);
    else members.push(row);
  }
  return [...groups].map(([key, trajectories]) => ({
    key: `${key}`,
    prompt: trajectories[0]!.prompt,
    trajectories,
  }));
}
