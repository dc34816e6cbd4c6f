import type { Command } from "commander";
import { writeReport } from "../index.js";
import type { Terminal } from "./terminal.js";

interface ReportFlags {
  out?: string;
  json?: true;
}

export function registerReport(program: Command, terminal: Terminal): void {
  program
    .command("report")
    .argument("<dir>", "a run's folder, of a run that is over or still going on")
    .description("make one offline HTML page of a run: charts, rollouts, what ran")
    .option("--out <file>", "where the page goes; default DIR/report.html")
    .option("--json", "{file, bytes, steps, rollouts, recorded} as an object")
    .addHelpText(
      "after",
      `
Examples:
  firesteel report runs/grpo-arithmetic-seed0
  firesteel report runs/grpo-arithmetic-seed0 --out first.html --json

The page fetches nothing: it can be mailed, and opened from a disk.`,
    )
    .action(async (dir: string, { out, json }: ReportFlags) => {
      const written = await writeReport(dir, out);
      if (json) terminal.out(`${JSON.stringify(written)}\n`);
      else terminal.out(`${written.file}\n`);
    });
}
