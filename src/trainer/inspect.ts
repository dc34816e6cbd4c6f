import type { RunFacts } from "../contract/block.js";
import type { Policy } from "../contract/policy.js";
import type { Sampler } from "../contract/sampler.js";
import type { Phase, System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import { invalid, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { phaseBlocks } from "../options/phaseBlocks.js";
import { canDemonstrate } from "./demonstration.js";
import { inspectModels } from "./inspectModels.js";
import { reads } from "./prompts.js";
import type { TrainSettings } from "./settings.js";
import { taskForms } from "./taskForms.js";

/** What is to run. */
interface Inspected {
  system: System;
  task: Task;
  policy: Policy;
  sampler: Sampler;
  settings: TrainSettings;
  given: Readonly<Record<string, Policy>>;
}

/**
 * Refuses what cannot work, before the first rollout.
 *
 * @returns what a user should know about this combination of system and task
 * @throws FiresteelError ERR_OPTION, ERR_SAMPLER
 */
export function inspectSystem(run: Inspected): string[] {
  inspectPolicy(run);
  inspectQuestions(run);
  inspectModels(run.system, run.policy, run.given);
  inspectEvaluation(run);
  return [
    ...inspectReference(run),
    ...run.system.phases.flatMap((phase) => inspectPhase(phase, run)),
  ];
}

/** Task, system and policy must act alike. */
function inspectPolicy({ system, task, policy, settings }: Inspected): void {
  if (policy.kind !== task.kind) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a policy over ${task.kind} for task ${show(task.id)} but it acts in ${policy.kind}`,
    );
  }
  if (system.policy !== policy.kind) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a policy over ${system.policy} for system ${show(system.id)} but that of task ` +
        `${show(task.id)} acts in ${policy.kind}`,
    );
  }
  if (policy.kind === "flow" && settings.temperature !== 1) {
    const expected = "1 (a flow policy has no logits)";
    throw invalid("ERR_OPTION", "temperature", expected, settings.temperature);
  }
}

function inspectQuestions({ task, policy, settings }: Inspected): void {
  for (const question of [...task.train, ...task.evaluation]) policy.checkQuestion?.(question);
  if (task.accuracy === null) refuseAnswers(task, settings);
  if (task.train.length === 0) {
    const message = `Expected training prompts in task ${show(task.id)} but there are none`;
    throw new FiresteelError("ERR_OPTION", message);
  }
}

function inspectEvaluation({ task, sampler, settings }: Inspected): void {
  if (settings.evalGreedy && !sampler.capabilities.has("greedy")) {
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected a sampler that can do "greedy" (evalGreedy) but ${show(sampler.name)} cannot`,
    );
  }
  const { bestMetric, earlyStopPatience, earlyStopTarget, keepBest } = settings;
  if (!keepBest && earlyStopPatience === null && earlyStopTarget === null) return;
  const held = task.evaluations?.[bestMetric] ?? task.evaluation;
  if (held.length > 0) return;
  throw new FiresteelError(
    "ERR_OPTION",
    `Expected held-out prompts for ${show(bestMetric)} in task ${show(task.id)} but there are none`,
  );
}

/** Models that the losses read, beside the one that learns. */
function modelsRead({ phases }: System): string[] {
  return phases.flatMap(({ loss }) => loss.flatMap(({ models }) => models));
}

function inspectReference({ system, policy, settings }: Inspected): string[] {
  const { syncRefModel, refModelMixupAlpha } = settings;
  if (!syncRefModel) return [];
  const { reference } = system.models;
  if (!modelsRead(system).includes("reference") || reference?.trained) {
    const why = reference?.trained ? "it is trained" : "no loss reads it";
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a reference policy that can follow in ${system.id} (syncRefModel is true) but ${why}`,
    );
  }
  const dtype = policy.parameters[0]?.value.dtype;
  if (dtype === "f32" || refModelMixupAlpha >= 1 / 32) return [];
  return [
    `refModelMixupAlpha ${refModelMixupAlpha}: steps so small are mostly rounded away in weights of ${dtype}`,
  ];
}

function factsOf({ system, task, policy, settings }: Inspected): RunFacts {
  return {
    numGenerations: settings.numGenerations,
    maxCompletionLength: settings.maxCompletionLength,
    rewards: Object.keys(task.rewards),
    binaryRewards: task.binaryRewards,
    valueHead: policy.valueHead === true,
    demonstrations: canDemonstrate(task),
    models: ["policy", ...Object.keys(system.models), ...modelsRead(system)],
    ...taskForms(task),
    reads: (text) => reads(policy.tokenizer, text),
  };
}

function inspectPhase(phase: Phase, run: Inspected): string[] {
  const { system, policy, sampler } = run;
  if (phase.model !== "policy" && system.models[phase.model]?.trained !== true) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a trained model for phase ${show(phase.name)} of ${system.id} ` +
        `but ${show(phase.model)} is frozen`,
    );
  }
  checkTerms(phase, policy);
  const facts = factsOf(run);
  const warnings = phaseBlocks(phase).flatMap(({ block }) => {
    const missing = block.requires?.find((capability) => !sampler.capabilities.has(capability));
    if (missing === undefined) return block.inspect?.(facts) ?? [];
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected a sampler that can do ${show(missing)} (block ${block.block} of ${system.id}) ` +
        `but ${show(sampler.name)} cannot`,
    );
  });
  const corrected = phase.loss.some(({ columns }) => columns.includes("samplerLogProb"));
  if (sampler.capabilities.has("currentWeights") || corrected) return warnings;
  return [
    ...warnings,
    `phase ${show(phase.name)}: rollouts of sampler ${show(sampler.name)} may be older than the weights, ` +
      'and no loss corrects for it (surrogate: mismatch, e.g. "sequence-mask")',
  ];
}

/** What a loss reads besides log-probs must be there. */
function checkTerms({ name, loss }: Phase, { kind }: Policy): void {
  for (const { block, entropy, mean = false } of loss) {
    const lacks =
      entropy && kind === "flow" ? "an entropy" : mean && kind === "tokens" ? "means" : null;
    if (lacks === null) continue;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a policy with ${lacks} that its weights move for phase ${show(name)} (${block} ` +
        `reads it) but it acts in ${kind}`,
    );
  }
}

/** What takes answers to be right or wrong. */
function refuseAnswers(task: Task, settings: TrainSettings): void {
  const expected = `nothing (answers of task ${show(task.id)} are not right or wrong)`;
  const { evalGreedy, evalPassAtK, evalMajAtK } = settings;
  const counts = { evalPassAtK, evalMajAtK, evaluations: Object.keys(task.evaluations ?? {}) };
  for (const [name, given] of Object.entries(counts)) {
    if (given.length > 0) throw invalid("ERR_OPTION", name, expected, given);
  }
  if (evalGreedy) throw invalid("ERR_OPTION", "evalGreedy", expected, evalGreedy);
}
