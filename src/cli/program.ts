import { Command, CommanderError } from "commander";
import { FiresteelError, version } from "../index.js";
import { registerBench } from "./bench.js";
import { registerBuild } from "./build.js";
import { registerDoctor } from "./doctor.js";
import { registerReplicate } from "./replicate.js";
import { registerReport } from "./report.js";
import { registerScore } from "./score.js";
import { registerServe } from "./serve.js";
import { registerSolve } from "./solve.js";
import { registerSystems } from "./systems.js";
import type { Terminal } from "./terminal.js";
import { registerTrain } from "./train.js";
import { registerVerify } from "./verify.js";

/** What a command's end says to the shell. */
const exitCodes = { done: 0, failed: 1, wrongUse: 2 } as const;

/**
 * Runs one command.
 *
 * @param args without node and script
 * @returns the exit code: 0 done, 1 failed, 2 wrong use
 */
export async function runCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command("firesteel")
    .description("Group-relative reinforcement learning (GRPO and its relatives) on native kernels")
    .version(version)
    .showSuggestionAfterError()
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })
    .addHelpText(
      "after",
      `
Examples:
  firesteel train                        SPARK on arithmetic, in about a minute
  firesteel solve --policy RUN 0123=     ask what that run has made (RUN: the folder that it names at its end)
  firesteel systems spark                every option of what was trained
  firesteel train --help                 each command has examples of its own

Exit codes: 0 done, 1 failed, 2 wrong use. FIRESTEEL_DEVICE=cpu or cuda chooses the device where nothing
else does; FIRESTEEL_DEBUG=1 prints where an error comes from.`,
    )
    .exitOverride();
  for (const register of [
    registerTrain,
    registerReport,
    registerScore,
    registerServe,
    registerSolve,
    registerSystems,
    registerReplicate,
    registerBench,
    registerVerify,
    registerDoctor,
    registerBuild,
  ]) {
    register(program, terminal);
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCodes.done;
  } catch (error) {
    // Commander has printed its own message by now.
    if (error instanceof CommanderError)
      return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUse;
    if (!(error instanceof Error)) throw error;
    const text = process.env.FIRESTEEL_DEBUG ? (error.stack ?? error.message) : error.message;
    terminal.err(`error: ${text}\n`);
    const wrongUse = error instanceof FiresteelError && error.code === "ERR_OPTION";
    return wrongUse ? exitCodes.wrongUse : exitCodes.failed;
  }
}
