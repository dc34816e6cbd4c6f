import type { Block, DescribedOption, OptionValue } from "../contract/block.js";
import type { Phase, System } from "../contract/system.js";

/** A block as data: its step in the phase, its name, every option with its value. */
export interface PrintedBlock {
  phase: string;
  at: string;
  block: string;
  options: Record<string, OptionValue>;
}

/** Every part of a phase that holds blocks, in the way of the data. */
const steps = Object.keys({
  source: true,
  rollout: true,
  probe: true,
  reward: true,
  filter: true,
  advantage: true,
  credit: true,
  rows: true,
  select: true,
  weight: true,
  loss: true,
  observe: true,
} satisfies Record<Exclude<keyof Phase, "name" | "model" | "update">, true>) as (keyof Phase)[];

/** Every block of a phase, in the way of the data. */
export function phaseBlocks(phase: Phase): { at: string; block: Block }[] {
  return steps.flatMap((at) => {
    const value = phase[at] as Block | readonly Block[] | null;
    const blocks = value === null ? [] : Array.isArray(value) ? value : [value];
    return blocks.map((block: Block) => ({ at, block }));
  });
}

/** Everything that a system does, as data. */
export function systemBlocks(system: System): PrintedBlock[] {
  return system.phases.flatMap((phase) =>
    phaseBlocks(phase).map(({ at, block }) => ({
      phase: phase.name,
      at,
      block: block.block,
      options: Object.fromEntries(block.options.map(({ name, value }) => [name, value])),
    })),
  );
}

/** A value as it would be written in a definition. */
export function showOption(value: OptionValue): string {
  return JSON.stringify(value).replaceAll('":', '": ').replaceAll(',"', ', "');
}

/** One line an option: name, value, description. */
export function optionLines(options: readonly DescribedOption[]): string[] {
  const width = Math.max(0, ...options.map(({ name }) => name.length));
  const values = options.map(({ value }) => showOption(value));
  const valueWidth = Math.max(0, ...values.map((text) => text.length));
  return options.map(({ name, description }, i) => {
    const value = values[i]!.padEnd(valueWidth);
    return `      ${name.padEnd(width)}  ${value}  ${description}`;
  });
}

/** Every step of a system with every option and its value: this text says what runs. */
export function printSystem(system: System): string {
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
