import type { OptionValue } from "../contract/block.js";
import type { System } from "../contract/system.js";
import { checkArguments } from "../engine/arguments.js";
import { aSystem } from "../engine/contractKinds.js";
import { optionLines } from "../options/optionLines.js";
import { phaseBlocks } from "../options/phaseBlocks.js";

/** A block as data: its step in the phase, its name, every option with its value. */
export interface PrintedBlock {
  phase: string;
  at: string;
  block: string;
  options: Record<string, OptionValue>;
}

/** Everything that a system does, as data. */
export function systemBlocks(system: System): PrintedBlock[] {
  checkArguments({ system }, { system: aSystem });
  return system.phases.flatMap((phase) =>
    phaseBlocks(phase).map(({ at, block }) => ({
      phase: phase.name,
      at,
      block: block.block,
      options: Object.fromEntries(block.options.map(({ name, value }) => [name, value])),
    })),
  );
}

/** Every step of a system with every option and its value: this text says what runs. */
export function printSystem(system: System): string {
  checkArguments({ system }, { system: aSystem });
  const paper = system.arxiv === null ? "" : `, arXiv ${system.arxiv}`;
  const lines = [`${system.id}: ${system.title}${paper} (evidence: ${system.evidence})`];
  for (const [name, model] of Object.entries(system.models)) {
    lines.push(`model ${name}: ${JSON.stringify(model)}`);
  }
  for (const phase of system.phases) {
    const update = Object.entries(phase.update).map(([key, value]) => `, ${key} ${value}`);
    lines.push("", `phase ${phase.name} (trains ${phase.model}${update.join("")})`);
    if (phase.source === null) lines.push("  source     the task's training prompts");
    for (const { at, block } of phaseBlocks(phase)) {
      lines.push(`  ${at.padEnd(9)}  ${block.block}`, ...optionLines(block.options));
    }
  }
  for (const stage of system.stages ?? []) {
    lines.push("", `stage ${stage.name}: ${stage.steps} steps of ${stage.phases.join(", ")}`);
  }
  if (system.inference !== null) {
    lines.push(
      "",
      `inference  ${system.inference.block}`,
      ...optionLines(system.inference.options),
    );
  }
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}
