import type { Command } from "commander";
import type { EngineOptions } from "../index.js";
import { claims, type Replication, replicate } from "../index.js";
import { type Comparison, rule } from "../replicate/compare.js";
import type { ReplicationProgress } from "../replicate/replicate.js";
import { mean } from "../statistics/mean.js";
import { count } from "./progress.js";
import { stopSignal } from "./stopSignal.js";
import { statusLine, type Terminal, table } from "./terminal.js";
import { wholeNumber } from "./wholeNumber.js";

interface ReplicateFlags {
  seeds: number;
  device?: EngineOptions["device"];
  out?: string;
  list?: true;
  json?: true;
}

export function registerReplicate(program: Command, terminal: Terminal): void {
  program
    .command("replicate")
    .argument("[ids...]", "which claims; default: all of --list")
    .description("hold systems against their baselines on the embedded tasks")
    .option("--seeds <n>", "runs of every arm, seeds 1 to n", wholeNumber("--seeds"), 3)
    .option("--device <auto|cpu|cuda>", "where the kernels run; default auto")
    .option("--out <dir>", "keep warm starts and finished runs, and take up those that lie there")
    .option("--list", "say what there is to replicate, and stop")
    .option("--json", "an array of claims with values, intervals and curves")
    .addHelpText(
      "after",
      `
Examples:
  firesteel replicate                      every claim, three seeds
  firesteel replicate dapo --seeds 5
  firesteel replicate --json --out runs/replicate > replicate.json

All arms of a seed begin from one warm start. A claim is shown, or not, by its 95% interval:
  ${rule.split("; ").join(";\n  ")}.`,
    )
    .action(async (ids: readonly string[], { seeds, device, out, list, json }: ReplicateFlags) => {
      if (list) return terminal.out(listing(json));
      const stop = stopSignal();
      stop.signal.addEventListener("abort", () => {
        const kept = out === undefined ? "" : `; finished runs stay in ${out}`;
        terminal.err(`\nStopping at the end of this step${kept}\n`);
      });
      const status = statusLine(terminal);
      try {
        const found = await replicate(ids.length === 0 ? undefined : ids, {
          ...{ seeds, device, out, signal: stop.signal },
          onProgress: (now) => status.show(progress(now)),
          onResult(result) {
            status.clear();
            if (!json) terminal.out(asText(result));
          },
        });
        if (json) terminal.out(`${JSON.stringify(found)}\n`);
      } finally {
        status.clear();
        stop.end();
      }
    });
}

function listing(json: true | undefined): string {
  const all = Object.values(claims).map(({ id, claim, baseline }) => ({ id, claim, baseline }));
  return json ? `${JSON.stringify(all)}\n` : table(all.map(({ id, claim }) => [id, claim]));
}

function progress({ claim, arm, seed, done, runs, stage, step, steps }: ReplicationProgress) {
  return `${claim}: run ${done + 1} of ${runs} (${arm}, seed ${seed}), ${stage} ${step}/${steps}`;
}

/** Three digits that matter; counts in full. */
function figure(value: number | null): string {
  if (value === null) return "-";
  if (Math.abs(value) >= 1000) return count(value);
  return String(Number(value.toPrecision(3)));
}

const signed = (value: number) => `${value < 0 ? "" : "+"}${figure(value)}`;

function spread(values: readonly (number | null)[]): string {
  const present = values.filter((value) => value !== null);
  if (present.length < 2) return figure(mean(values));
  const [least, most] = [Math.min(...present), Math.max(...present)];
  return `${figure(mean(values))} (${figure(least)} to ${figure(most)})`;
}

function asText({ id, claim, baseline, shown, seconds, system, reported }: Replication): string {
  const measures = Object.keys(Object.values(reported.arms)[0]!);
  const rows = Object.entries(reported.arms).map(([arm, values]) => [
    arm,
    ...measures.map((name) => spread(values[name]!)),
  ]);
  const seeds = `${system.length} ${system.length === 1 ? "seed" : "seeds"}`;
  return [
    `${id}: ${claim}\n`,
    `held against: ${baseline}\n\n`,
    table([[`mean (least to most) of ${seeds}`, ...measures], ...rows]),
    "\n",
    ...reported.comparisons.map(comparison),
    `shown: ${shown} (${seconds.toFixed(0)} s)\n\n`,
  ].join("");
}

function comparison({ measure, arm, baseline, by, difference, interval, shown }: Comparison) {
  const found = difference === null ? "no value" : signed(difference);
  const within =
    interval === null
      ? "no interval"
      : `95% interval ${signed(interval[0])} to ${signed(interval[1])}`;
  return `${arm} over ${baseline}, ${measure}: ${found}, ${within}, asked for ${signed(by)}: ${shown}\n`;
}
