import type { RunFacts } from "../contract/block.js";
import type { Policy } from "../contract/policy.js";
import type { Sampler } from "../contract/sampler.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { canDemonstrate } from "./demonstration.js";
import { inspectModels } from "./inspectModels.js";
import { phaseBlocks } from "./printSystem.js";
import type { TrainSettings } from "./settings.js";

/**
 * Refuses what cannot work, before the first rollout.
 *
 * @returns what a user should know about this combination of system and task
 * @throws FiresteelError ERR_OPTION, ERR_SAMPLER
 */
export function inspectSystem(run: {
  system: System;
  task: Task;
  policy: Policy;
  sampler: Sampler;
  settings: TrainSettings;
  given: Readonly<Record<string, Policy>>;
}): string[] {
  const { system, task, policy, sampler, settings, given } = run;
  if (policy.kind !== task.kind) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a policy over ${task.kind} for task ${show(task.id)} but it acts in ${policy.kind}`,
    );
  }
  if (task.train.length === 0) {
    const message = `Expected training prompts in task ${show(task.id)} but there are none`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  inspectModels(system, policy, given);
  if (settings.evalGreedy && !sampler.capabilities.has("greedy")) {
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected a sampler that can do "greedy" (evalGreedy) but ${show(sampler.name)} cannot`,
    );
  }
  const { bestMetric, earlyStopPatience, earlyStopTarget, keepBest } = settings;
  if (keepBest || earlyStopPatience !== null || earlyStopTarget !== null) {
    const held = task.evaluations?.[bestMetric] ?? task.evaluation;
    if (held.length === 0) {
      const message = `Expected held-out prompts for ${show(bestMetric)} in task ${show(task.id)} but there are none`;
      throw new FiresteelError("ERR_OPTION", message);
    }
  }
  const read = system.phases.flatMap(({ loss }) => loss.flatMap(({ models }) => models));
  const { reference } = system.models;
  if (settings.syncRefModel && (!read.includes("reference") || reference?.trained)) {
    const why = reference?.trained ? "it is trained" : "no loss reads it";
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a reference policy that can follow in ${system.id} (syncRefModel is true) but ${why}`,
    );
  }
  const facts: RunFacts = {
    numGenerations: settings.numGenerations,
    maxCompletionLength: settings.maxCompletionLength,
    rewards: Object.keys(task.rewards),
    binaryRewards: task.binaryRewards,
    valueHead: policy.valueHead === true,
    demonstrations: canDemonstrate(task),
    models: ["policy", ...Object.keys(system.models), ...read],
    forms: task.forms ?? null,
    alphabet: task.alphabet,
  };
  const warnings: string[] = [];
  const { syncRefModel, refModelMixupAlpha } = settings;
  const dtype = policy.parameters[0]?.value.dtype;
  if (syncRefModel && dtype !== "f32" && refModelMixupAlpha < 1 / 32) {
    warnings.push(
      `refModelMixupAlpha ${refModelMixupAlpha}: steps so small are mostly rounded away in weights of ${dtype}`,
    );
  }
  for (const phase of system.phases) {
    if (phase.model !== "policy" && system.models[phase.model]?.trained !== true) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected a trained model for phase ${show(phase.name)} of ${system.id} ` +
          `but ${show(phase.model)} is frozen`,
      );
    }
    for (const { block } of phaseBlocks(phase)) {
      const missing = block.requires?.find((capability) => !sampler.capabilities.has(capability));
      if (missing !== undefined) {
        throw new FiresteelError(
          "ERR_SAMPLER",
          `Expected a sampler that can do ${show(missing)} (block ${block.block} of ${system.id}) ` +
            `but ${show(sampler.name)} cannot`,
        );
      }
      warnings.push(...(block.inspect?.(facts) ?? []));
    }
    const corrected = phase.loss.some(({ columns }) => columns.includes("samplerLogProb"));
    if (!sampler.capabilities.has("currentWeights") && !corrected) {
      warnings.push(
        `phase ${show(phase.name)}: rollouts of sampler ${show(sampler.name)} may be older than the weights, ` +
          'and no loss corrects for it (surrogate: mismatch, e.g. "sequence-mask")',
      );
    }
  }
  return warnings;
}
