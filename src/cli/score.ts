import type { Command } from "commander";
import { invalid } from "../engine/checks.js";
import { Engine, type EngineOptions, namedSystem, type ScoreSummary, scoreFile } from "../index.js";
import { type Terminal, table } from "./terminal.js";

interface ScoreFlags {
  system: string;
  phase?: string;
  device?: string;
  gradients?: true;
  skipBad?: true;
  json?: true;
}

export function registerScore(program: Command, terminal: Terminal): void {
  program
    .command("score")
    .description("advantages, token weights and losses of rollouts made elsewhere")
    .argument("<file>", "JSON lines, one rollout each (docs/score.md)")
    .requiredOption("--system <id>", "whose advantages and loss (see `firesteel systems`)")
    .option("--phase <name>", "of a system with several phases")
    .option("--gradients", "also d loss / d log-prob of every token (--json)")
    .option("--skip-bad", "leave out lines that cannot be used, and say which")
    .option("--device <auto|cpu|cuda>", "where the kernels run; default auto")
    .option("--json", "one line of JSON a rollout on stdout")
    .addHelpText(
      "after",
      `
Examples:
  firesteel score rollouts.jsonl --system grpo
  firesteel score rollouts.jsonl --system grpo --json --gradients > scored.jsonl

A line:
  {"group": "q1", "reward": 1, "logProbs": [-0.4, -1.2], "oldLogProbs": [-0.5, -1.1]}
  further: rewards {name: number | null} instead of reward, refLogProbs, samplerLogProbs, entropies,
  mask [0 | 1], finish, id. The file is one optimiser step: token means are over all of it.

Exit code 1 when lines cannot be used and --skip-bad is not given.`,
    )
    .action((file: string, flags: ScoreFlags) => score(file, flags, terminal));
}

async function score(file: string, flags: ScoreFlags, terminal: Terminal): Promise<void> {
  const { system, phase, gradients, skipBad, json } = flags;
  if (gradients && !json) {
    throw invalid("ERR_OPTION", "--gradients", "nothing (they are printed with --json)", gradients);
  }
  const device = flags.device as EngineOptions["device"];
  const named = namedSystem(system);
  const engine = new Engine({ device });
  try {
    const rollouts = scoreFile(engine, file, {
      system: named,
      phase,
      gradients: gradients === true,
      ...(skipBad ? { onBadLine: ({ message }) => terminal.err(`skipped ${message}\n`) } : {}),
      onWarning: (warning) => terminal.err(`warning: ${warning}\n`),
    });
    let next = await rollouts.next();
    for (; next.done !== true; next = await rollouts.next()) {
      if (json) terminal.out(`${JSON.stringify(next.value)}\n`);
    }
    if (!json) terminal.out(summaryTable(next.value));
  } finally {
    engine.dispose();
  }
}

function summaryTable({
  rollouts,
  groups,
  dropped,
  badLines,
  loss,
  metrics,
}: ScoreSummary): string {
  const shown = Object.entries(metrics).filter(
    ([name, value]) => name !== "loss" && value !== null,
  );
  return table([
    ["rollouts", `${rollouts} in ${groups} groups`],
    ["left out of the loss", `${dropped}`],
    ["lines skipped", `${badLines}`],
    ["loss", loss.toPrecision(6)],
    ...shown.map(([name, value]) => [name, value!.toPrecision(6)]),
  ]);
}
