import type { Command } from "commander";
import { type Ceiling, measureCeiling } from "../bench/ceiling.js";
import { type BenchResult, benchLogProb } from "../bench/logProb.js";
import { checkChoice } from "../engine/checks.js";
import { Engine } from "../index.js";
import { type Terminal, table } from "./terminal.js";

const kernels = ["log-prob"] as const;
/** Not "emulated": the time of an emulator says nothing. */
const devices = ["auto", "cpu", "cuda"] as const;

interface BenchFlags {
  device: string;
  peers?: true;
  json?: true;
}

function asText(engine: Engine, ceiling: Ceiling, results: readonly BenchResult[]): string {
  const { device, name, threads } = engine.info;
  const rows = results.map((r) => [
    r.kernel,
    r.dtype,
    r.shape.join(" x "),
    `${r.medianMs.toFixed(3)} ms`,
    `${r.p20Ms.toFixed(3)} to ${r.p80Ms.toFixed(3)}`,
    `${r.gbPerS.toFixed(1)} GB/s`,
    `${(100 * r.ofPeak).toFixed(0)}%`,
    ...Object.entries(r.peers).map(([peer, { ratio }]) => `${ratio.toFixed(1)} x ${peer}`),
  ]);
  const { readGbPerS, scaleGbPerS } = ceiling;
  return (
    `${device} (${name}, ${threads} threads): reading ${readGbPerS.toFixed(1)} GB/s, ` +
    `reading and writing ${scaleGbPerS.toFixed(1)} GB/s\n` +
    table([["kernel", "dtype", "shape", "median", "p20 to p80", "rate", "of peak"], ...rows])
  );
}

export function registerBench(program: Command, terminal: Terminal): void {
  program
    .command("bench")
    .argument("[kernels...]", `which to time (${kernels.join(", ")}); default: all`)
    .description("time kernels against this machine's memory bandwidth")
    .option("--device <device>", "auto, cpu or cuda", "auto")
    .option("--peers", "also time others at the same work")
    .option("--json", "an array of results")
    .addHelpText(
      "after",
      `
Examples:
  firesteel bench log-prob
  firesteel bench log-prob --peers --json

Every result is checked against float64 before it is timed. "of peak" is the share of the bandwidth
that the plainest kernel with the same traffic reached in the same run.`,
    )
    .action(async (asked: readonly string[], { device, peers, json }: BenchFlags) => {
      for (const name of asked) checkChoice("kernel", name, kernels);
      const engine = new Engine({ device: checkChoice("--device", device, devices) });
      try {
        const ceiling = await measureCeiling(engine);
        const results: BenchResult[] = [];
        for (const dtype of ["f32", "bf16", "f16"] as const) {
          if (terminal.interactive) terminal.err(`\rlog-prob ${dtype}`);
          results.push(...(await benchLogProb(engine, dtype, ceiling, { peers })));
        }
        if (terminal.interactive) terminal.err("\r\x1b[K");
        terminal.out(json ? `${JSON.stringify(results)}\n` : asText(engine, ceiling, results));
      } finally {
        engine.dispose();
      }
    });
}
