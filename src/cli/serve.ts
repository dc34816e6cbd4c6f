import type { Command } from "commander";
import { FiresteelError, type PolicyServer, type ServeOptions, serve } from "../index.js";
import { isLoopback } from "../serve/server.js";
import { readKey } from "./flagFile.js";
import { onInterrupt } from "./stopSignal.js";
import type { Terminal } from "./terminal.js";
import { wholeNumber } from "./wholeNumber.js";

interface ServeFlags extends Omit<ServeOptions, "apiKey" | "engine" | "onError"> {
  apiKeyFile?: string;
  json?: true;
}

export function registerServe(program: Command, terminal: Terminal): void {
  program
    .command("serve")
    .description("serve a policy over HTTP: OpenAI's completions, with token ids and log-probs")
    .requiredOption(
      "--policy <dir>",
      "a folder with a policy, a run's folder (its best checkpoint, else its newest), or --sampler-dir of a run",
    )
    .option("--wait", "come up although --policy is still empty; a training run fills it")
    .option("--host <address>", "default 127.0.0.1: this machine alone")
    .option("--port <n>", "default 8000; 0: any that is free", wholeNumber("--port"))
    .option("--api-key-file <file>", "its first line is asked for in Authorization: Bearer")
    .option("--device <auto|cpu|cuda>", "where the kernels run; default auto")
    .option("--threads <n>", "of the CPU; default as the engine", wholeNumber("--threads"))
    .option(
      "--max-concurrent <n>",
      "requests that run or wait at once; default 1024",
      wholeNumber("--max-concurrent"),
    )
    .option(
      "--max-batch <n>",
      "completions sampled together; default 256",
      wholeNumber("--max-batch"),
    )
    .option(
      "--max-tokens <n>",
      "that one request may ask for; default 262144",
      wholeNumber("--max-tokens"),
    )
    .option(
      "--timeout-seconds <n>",
      "of one request; default 600",
      wholeNumber("--timeout-seconds"),
    )
    .option("--json", "one line of JSON on stdout when it listens, one when it has stopped")
    .addHelpText(
      "after",
      `
Examples:
  firesteel serve --policy runs/spark-arithmetic-seed0
  firesteel serve --policy runs/spark-arithmetic-seed0/checkpoint-50/policy
  curl http://127.0.0.1:8000/v1/completions -H 'content-type: application/json' \\
    -d '{"prompt": "1232=", "max_tokens": 6, "temperature": 0}'
  firesteel serve --policy weights --wait --port 8000 &
  firesteel train --sampler-url http://127.0.0.1:8000 --sampler-dir weights

POST /v1/completions, /v1/weights (load what the folder holds now); GET /v1/models, /health.
An interrupt finishes what runs and ends with exit code 0; a second one ends at once. See docs/serve.md.`,
    )
    .action((flags: ServeFlags) => runServe(flags, terminal));
}

async function runServe({ apiKeyFile, json, ...given }: ServeFlags, terminal: Terminal) {
  const apiKey = apiKeyFile === undefined ? undefined : readKey("--api-key-file", apiKeyFile);
  const onError = (error: unknown) => terminal.err(`error: ${(error as Error).stack ?? error}\n`);
  const server = await serve({ ...given, apiKey, onError });
  if (given.host !== undefined && !isLoopback(given.host) && apiKey === undefined) {
    terminal.err("warning: whoever reaches this address can use the server (--api-key-file)\n");
  }
  const { url, version, directory } = server;
  const weights = version === null ? "no weights yet" : `weights ${version}`;
  if (json) {
    const event = { event: "listening", url, pid: process.pid, weight_version: version };
    terminal.out(`${JSON.stringify(event)}\n`);
  } else {
    terminal.out(`Serving ${directory} (${weights}) on ${url}\n`);
  }
  await stopped(server, terminal);
  if (json) terminal.out(`${JSON.stringify({ event: "stopped" })}\n`);
}

/** Resolves when an interrupt has stopped the server. @throws FiresteelError ERR_ABORTED after a second one */
async function stopped(server: PolicyServer, terminal: Terminal): Promise<void> {
  let interrupts = 0;
  let end = () => {};
  try {
    await new Promise<void>((resolve, reject) => {
      end = onInterrupt(() => {
        interrupts += 1;
        if (interrupts === 1) {
          const { active } = server;
          if (active > 0) {
            terminal.err(`Finishing ${active} requests; interrupt again to stop at once\n`);
          }
        } else {
          server.abort();
        }
        server.close().then(resolve, reject);
      });
    });
  } finally {
    end();
  }
  if (interrupts > 1) throw new FiresteelError("ERR_ABORTED", "Stopped with requests unanswered");
}
