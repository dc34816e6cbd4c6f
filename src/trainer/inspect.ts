import type { RunFacts } from "../contract/block.js";
import type { Policy } from "../contract/policy.js";
import type { Sampler } from "../contract/sampler.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
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
}): string[] {
  const { system, task, policy, sampler, settings } = run;
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
  const read = system.phases.flatMap(({ loss }) => loss.flatMap(({ models }) => models));
  const facts: RunFacts = {
    numGenerations: settings.numGenerations,
    maxCompletionLength: settings.maxCompletionLength,
    rewards: Object.keys(task.rewards),
    binaryRewards: task.binaryRewards,
    models: ["policy", ...Object.keys(system.models), ...read],
    forms: task.forms ?? null,
    alphabet: task.alphabet,
  };
  const warnings: string[] = [];
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
  }
  return warnings;
}
