#!/usr/bin/env node
import { runCommand } from "./program.js";
import { processTerminal } from "./terminal.js";

// A reader that has seen enough (`| head`) ends the command; a run's last checkpoint stands.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(1);
  });
}

runCommand(process.argv.slice(2), processTerminal).then((code) => {
  process.exitCode = code;
});
