import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { RunFrame } from "../contract/run.js";
import { datasetName } from "../data/datasetTask.js";
import { invalid } from "../engine/checks.js";
import { FiresteelError, systems, type TrainOptions, type TrainResult, train } from "../index.js";
import { defaultSystem } from "../trainOptions.js";
import { closingTable } from "./closingTable.js";
import { type DataFlags, dataOptions } from "./dataFlags.js";
import { readKey } from "./flagFile.js";
import { howToGoOn } from "./howToGoOn.js";
import { ProgressBlock } from "./progress.js";
import { acceptSettings, showSettings, withSet } from "./settings.js";
import { type StopSignal, stopSignal } from "./stopSignal.js";
import type { Terminal } from "./terminal.js";
import { readTrainConfig } from "./trainConfig.js";
import { wholeNumber } from "./wholeNumber.js";

interface TrainFlags extends DataFlags {
  system?: string;
  task?: string;
  policy?: string;
  dtype?: string;
  model?: Record<string, string>;
  steps?: number;
  seed?: number;
  device?: string;
  out?: string;
  resume?: string;
  force?: true;
  config?: string;
  set?: Record<string, unknown>;
  settings?: true;
  tensorboard?: true;
  report?: boolean;
  samplerUrl?: string;
  samplerDir?: string;
  samplerKeyFile?: string;
  json?: true;
}

export function registerTrain(program: Command, terminal: Terminal): void {
  acceptSettings(program.command("train"))
    .description("train a policy with a system on a task")
    .option(
      "--system <id>",
      "what to train with (see `firesteel systems`); default spark, with --task or --data grpo",
    )
    .option(
      "--task <id>",
      "what to train on, or several by weight (a:2,b:1); default the system's own",
    )
    .option("--data <file...>", "train on the questions in JSONL or Parquet files instead")
    .option("--columns <map>", "which columns to read, e.g. prompt=question,label=answer")
    .option("--verifier <name>", "exact (default), numeric, choice, fill-in or math")
    .option(
      "--answer <where>",
      "text (default), last-boxed, first-boxed, last-line, last-number ...",
    )
    .option("--eval-data <file...>", "held-out questions; default a tenth of --data")
    .option(
      "--policy <tiny|DIR>",
      "a fresh tiny policy, or a folder with weights, or a run's folder (its best checkpoint, else its newest); default tiny",
    )
    .option(
      "--dtype <f32|bf16>",
      "of weights and activations; default as DIR says, f32 where fresh",
    )
    .option(
      "--model <name=DIR>",
      "a model that the system leaves to you, e.g. teacher=runs/x, a folder as for --policy; repeatable",
      namedFolder,
    )
    .option("--steps <n>", "steps of sampling and learning", wholeNumber("--steps"))
    .option("--seed <n>", "decides every random draw; default 0", wholeNumber("--seed"))
    .option("--device <auto|cpu|cuda>", "where the kernels run; default auto")
    .option("--out <dir>", "the run's folder; default runs/SYSTEM-TASK-seedSEED")
    .option("--resume <dir>", "go on with the run in this folder, or with one of its checkpoints")
    .option("--force", "with --resume: also with other settings than it began with")
    .option(
      "--config <file>",
      "JSON with any of the settings, and system, task, policy, device, out, recordRollouts, recordEvery",
    )
    .option("--settings", "print every setting with its value and meaning, and do nothing")
    .option("--tensorboard", "also TensorBoard event files, in the run's folder")
    .option("--no-report", "no report.html at the end; `firesteel report DIR` makes it later")
    .option("--sampler-url <url>", "rollouts come from this server with OpenAI's completions")
    .option("--sampler-dir <dir>", "weights go here after each step: the --policy of that server")
    .option("--sampler-key-file <file>", "holds the key that the server asks for")
    .option("--json", "one line of JSON a step on stdout, and a last one when done")
    .addHelpText(
      "after",
      `
Examples:
  firesteel train                                   SPARK on arithmetic, from random weights
  firesteel train --system mc-grpo --seed 3 --out runs/median
  firesteel train --system flow-grpo                a flow model, on the task that it is shown on
  firesteel train --system opd --model teacher=runs/median
  firesteel train --resume runs/median --steps 100  go on, to 100 steps in all
  firesteel train --resume runs/median/checkpoint-20 --out runs/branch --force --set temperature=0.8
  firesteel train --data sums.jsonl --columns prompt=question,label=answer --verifier numeric
  firesteel train --config run.json --json          {"numGenerations": 16, "learningRate": 1e-4}
  firesteel train --set lrSchedulerType=cosine --set warmupRatio=0.1 --set evalPassAtK=[1,4]
  firesteel train --settings                        all that --set and --config take
  firesteel train --sampler-url http://127.0.0.1:8000 --sampler-dir weights
                                                    rollouts from: firesteel serve --policy weights --wait`,
    )
    .action(async (flags: TrainFlags) => {
      const stop = stopSignal();
      try {
        await runTrain(flags, terminal, stop);
      } finally {
        stop.end();
      }
    });
}

async function runTrain(flags: TrainFlags, terminal: Terminal, stop: StopSignal): Promise<void> {
  // Commander says true where neither --report nor --no-report stands.
  const { config, json, set, settings, model, report, ...flagged } = flags;
  const { samplerUrl, samplerDir, samplerKeyFile, ...unserved } = flagged;
  const { data, columns, verifier, answer, evalData, ...named } = unserved;
  const fromFile = config === undefined ? {} : readTrainConfig(config);
  const options = {
    report: true,
    ...fromFile,
    ...(report === false ? { report } : {}),
    ...samplerFlags({ samplerUrl, samplerDir, samplerKeyFile }),
    ...withSet(named, set),
    ...dataOptions({ data, columns, verifier, answer, evalData }, fromFile),
    ...(model === undefined ? {} : { models: model }),
  } as TrainOptions;
  if (settings) return showSettings(options, json === true, terminal);
  if (options.resume === undefined) options.out ??= freshFolder(options);
  const progress = new ProgressBlock(terminal);
  const announce = () => {
    progress.clear();
    terminal.err("Stopping at the end of this step; interrupt again to stop at once\n");
  };
  const { signal, atOnce } = stop;
  signal.addEventListener("abort", announce, { once: true });
  const leave = () => {
    progress.clear();
    terminal.err(`Stopped at once; ${howToGoOn((options.out ?? options.resume)!)}\n`);
  };
  atOnce.addEventListener("abort", leave, { once: true });
  const event = (name: string, fields: object) => {
    if (!json) return;
    progress.clear();
    terminal.out(`${JSON.stringify({ event: name, ...fields })}\n`);
  };
  let result: TrainResult;
  let what = "";
  let begun: string | null = null;
  const name = ({ system, task, out }: RunFrame) => {
    begun = out;
    what = `${system.id} on ${task.id}: ${system.title}`;
    if (terminal.interactive) terminal.err(`${what}\n`);
  };
  try {
    result = await train({
      ...options,
      signal,
      onWarning: (warning) => terminal.err(`warning: ${warning}\n`),
      callbacks: [{ begin: name }, progress],
      onStep({ step, metrics }) {
        event(step === 0 ? "evaluation" : "step", { step, ...metrics });
      },
    });
  } catch (error) {
    if (begun === null || !(error instanceof FiresteelError)) throw error;
    throw new FiresteelError(error.code, `${error.message}\n${howToGoOn(begun)}`, { cause: error });
  } finally {
    progress.clear();
  }
  const { steps, seconds, device, metrics, start, best, stoppedBy, out } = result;
  if (stoppedBy === "signal") {
    const where = steps === 0 ? "before the first step" : `after step ${steps}`;
    const message = `Stopped ${where}; ${howToGoOn(out!)}`;
    throw new FiresteelError("ERR_ABORTED", message);
  }
  event("done", { steps, seconds, device, metrics, start, best, stoppedBy, out });
  if (!json) terminal.out(closingTable(what, result, options.report === true));
}

/** The sampler that the command line names, if any. @throws FiresteelError ERR_OPTION */
function samplerFlags(flags: {
  samplerUrl?: string;
  samplerDir?: string;
  samplerKeyFile?: string;
}): Pick<TrainOptions, "sampler"> {
  const { samplerUrl: url, samplerDir: directory, samplerKeyFile: keyFile } = flags;
  if (url === undefined) {
    const other = Object.values(flags).find((value) => value !== undefined);
    if (other === undefined) return {};
    throw new FiresteelError(
      "ERR_OPTION",
      "Expected --sampler-url beside the other --sampler options",
    );
  }
  return { sampler: { url, directory, apiKey: keyFile && readKey("--sampler-key-file", keyFile) } };
}

/** A folder under runs/ that no run has used yet. What is no id is refused before it is made. */
function freshFolder(options: TrainOptions): string {
  const { task, data, mix, seed = 0, system = defaultSystem(options) } = options;
  const shownOn = systems[system as string]?.task;
  const name = data?.path !== undefined ? datasetName(data.path) : mix ? "mix" : (task ?? shownOn);
  const base = join("runs", `${system}-${name}-seed${seed}`.replace(/[^\w.-]+/g, "-"));
  for (let i = 1; ; ++i) {
    const folder = i === 1 ? base : `${base}-${i}`;
    if (!existsSync(folder)) return folder;
  }
}

/** Adds NAME=DIR to those given before. */
function namedFolder(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  throw invalid("ERR_OPTION", "--model", "NAME=DIR", text);
}
