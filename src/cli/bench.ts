import type { Command } from "commander";
import type { Bench, BenchResult } from "../bench/kernel.js";
import { findPeers, type Peers } from "../bench/peers/find.js";
import { type RunResult, runBench } from "../bench/run.js";
import { checkChoice } from "../engine/checks.js";
import { Engine } from "../index.js";
import { benches } from "./benches.js";
import { count } from "./progress.js";
import { statusLine, type Terminal, table } from "./terminal.js";
import { wholeNumber } from "./wholeNumber.js";

/** Not "emulated": the time of an emulator says nothing. */
const devices = ["auto", "cpu", "cuda"] as const;

interface BenchFlags {
  device: string;
  threads?: number;
  full?: true;
  peers?: true;
  list?: true;
  json?: true;
}

function chosen(names: readonly string[]): Bench[] {
  const known = benches.map(({ name }) => name);
  for (const name of names) checkChoice("kernel", name, known);
  return benches.filter(({ name }) => names.length === 0 || names.includes(name));
}

const rate = (r: BenchResult) =>
  r.tokensPerS !== undefined
    ? `${count(r.tokensPerS)} tokens/s`
    : r.ceiling === "gemm"
      ? `${r.gflopPerS.toFixed(1)} GFLOP/s`
      : `${r.gbPerS.toFixed(1)} GB/s`;

function asText({ machine, ceilings, results }: RunResult, missing: Peers["missing"]): string {
  const rows = results.flatMap((r) => {
    const own = [
      r.kernel,
      r.dtype,
      r.shape.join(" x "),
      `${r.medianMs.toPrecision(3)} ms`,
      `${r.p20Ms.toPrecision(3)} to ${r.p80Ms.toPrecision(3)}`,
      rate(r),
      r.ofPeak === null ? "-" : `${(100 * r.ofPeak).toFixed(0)}% of ${r.ceiling}`,
    ];
    const others = Object.entries(r.peers).map(([name, peer]) => {
      if (peer.medianMs === null) return [`  ${name}`, "", "", "-", peer.reason ?? "", "", ""];
      const spread = `${peer.p20Ms!.toPrecision(3)} to ${peer.p80Ms!.toPrecision(3)}`;
      const slower = `${peer.ratio!.toFixed(2)} x`;
      return [`  ${name}`, "", "", `${peer.medianMs.toPrecision(3)} ms`, spread, slower, ""];
    });
    return [own, ...others];
  });
  const { readGbPerS, scaleGbPerS, updateGbPerS, gemmGflopPerS, callMs } = ceilings;
  const head =
    `${machine.device} (${machine.name}, ${machine.threads} threads): reading ${readGbPerS.toFixed(1)} GB/s, ` +
    `reading and writing ${scaleGbPerS.toFixed(1)} GB/s (in place ${updateGbPerS.toFixed(1)}), f32 products ${gemmGflopPerS.toFixed(0)} GFLOP/s, ` +
    `a call ${(1000 * callMs).toFixed(1)} us\n`;
  const titles = ["kernel", "dtype", "shape", "median", "p20 to p80", "rate", "of its ceiling"];
  return (
    head +
    table([titles, ...rows]) +
    missing.map(({ name, reason }) => `not there: ${name} (${reason})\n`).join("")
  );
}

export function registerBench(program: Command, terminal: Terminal): void {
  program
    .command("bench")
    .argument("[kernels...]", "which to time; default: all of --list")
    .description("time kernels against this machine's ceilings, and beside others at the same work")
    .option("--device <device>", "auto, cpu or cuda", "auto")
    .option(
      "--threads <n>",
      "CPU threads, of the peers too; default: all",
      wholeNumber("--threads", 1, 1024),
    )
    .option("--full", "the sizes of a real model's head, where the default ones are cut")
    .option("--peers", "also time others at the same work (bench/peers)")
    .option("--list", "say what there is to time, and stop")
    .option("--json", "an array of results")
    .addHelpText(
      "after",
      `
Examples:
  firesteel bench
  firesteel bench log-prob matmul --threads 1
  firesteel bench linear-log-prob --full --peers --json

What a kernel computes is held against float64 before it is timed; a wrong one ends the command with 1.
"of its ceiling" is the least time that this machine, as measured in the same run, could do the work in,
over the time taken: by the bytes to be moved (memory), by f32 products (gemm), or by what any call
costs (call). A peer's factor says how many times longer it takes.`,
    )
    .action(async (asked: readonly string[], flags: BenchFlags) => {
      const what = chosen(asked);
      const device = checkChoice("--device", flags.device, devices);
      const { threads } = flags;
      if (flags.list) return list(what, flags.json, terminal);
      const status = statusLine(terminal);
      const found = flags.peers ? await findPeers(threadCount(device, threads)) : null;
      try {
        const result = await runBench(what, {
          ...{ device, threads, full: flags.full, peers: found?.peers },
          onProgress: status.show,
        });
        status.clear();
        const missing = found?.missing ?? [];
        if (!flags.json) return terminal.out(asText(result, missing));
        for (const { name, reason } of missing) terminal.err(`not there: ${name} (${reason})\n`);
        terminal.out(`${JSON.stringify(result.results)}\n`);
      } finally {
        found?.close();
      }
    });
}

/** What the peers are told; a card's number means nothing to them. */
function threadCount(device: "auto" | "cpu" | "cuda", threads: number | undefined): number {
  if (threads !== undefined) return threads;
  const engine = new Engine({ device: device === "cuda" ? "cpu" : device });
  try {
    return engine.info.threads;
  } finally {
    engine.dispose();
  }
}

function list(what: readonly Bench[], json: true | undefined, terminal: Terminal): void {
  const named = what.map(({ name, about }) => ({ name, about }));
  if (json) terminal.out(`${JSON.stringify(named)}\n`);
  else terminal.out(table(named.map(({ name, about }) => [name, about])));
}
