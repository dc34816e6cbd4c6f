import type { Command } from "commander";
import type { System } from "../contract/system.js";
import { namedSystem, systems } from "../index.js";
import { printSystem, systemBlocks } from "../trainer/printSystem.js";
import { type Terminal, table } from "./terminal.js";

/** A system as data, fully expanded. */
function described(system: System) {
  const { id, title, arxiv, policy, task, evidence } = system;
  return { id, title, arxiv, policy, task, evidence, blocks: systemBlocks(system) };
}

export function registerSystems(program: Command, terminal: Terminal): void {
  program
    .command("systems")
    .argument("[id]", "one system, with every block and option")
    .description("list the systems, or print one fully expanded")
    .option("--json", "an array of systems with their blocks and options")
    .addHelpText(
      "after",
      `
Examples:
  firesteel systems           one line a system
  firesteel systems mc-grpo   every option of every block, with its value
  firesteel systems --json    the same as data, for all`,
    )
    .action((id: string | undefined, { json }: { json?: true }) => {
      const chosen = id === undefined ? Object.values(systems) : [namedSystem(id)];
      if (json) terminal.out(`${JSON.stringify(chosen.map(described))}\n`);
      else if (id !== undefined) terminal.out(printSystem(chosen[0]!));
      else terminal.out(table(chosen.map((s) => [s.id, s.arxiv ?? "-", s.policy, s.title])));
    });
}
