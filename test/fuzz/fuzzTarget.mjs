import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { corpusPath, here, loadTarget, targetPath } from "./targets.mjs";

const require = createRequire(import.meta.url);
const jazzer = join(require.resolve("@jazzer.js/core"), "..", "cli.js");
const root = join(here, "..", "..");

/** Code whose edges count: ours, and what reads for us. */
const instrumented = [
  `${root}/dist/`,
  "/node_modules/@huggingface/tokenizers/",
  "/node_modules/hyparquet/",
];

/** A single input may take this long; memory of the whole process. */
const limits = ["-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1024"];

/**
 * Runs one target under libFuzzer.
 *
 * @returns what it did: executions, edges and features at the beginning and at the end, inputs kept on the
 *   way, and the finding that ended it, if there is one
 */
export async function fuzzTarget(name, { seconds, seed, merge, env }) {
  const work = join(root, "out", "fuzz", name);
  const found = join(work, "found");
  mkdirSync(found, { recursive: true });
  mkdirSync(corpusPath(name), { recursive: true });
  const { maxLength, dictionary } = await loadTarget(name);
  const words = join(work, "dictionary.txt");
  writeFileSync(words, dictionary.map((word) => `"${escaped(word)}"\n`).join(""));

  const first = merge ? [corpusPath(name), found] : [found, corpusPath(name)];
  const args = [
    ...[jazzer, targetPath(name), ...first],
    ...instrumented.flatMap((part) => ["-i", part]),
    ...["--", ...limits, `-seed=${seed}`, `-max_len=${maxLength}`, `-dict=${words}`],
    ...[`-artifact_prefix=${work}/`, "-print_final_stats=1"],
    merge ? "-merge=1" : `-max_total_time=${seconds}`,
  ];
  for (const file of artifacts(work)) rmSync(join(work, file));
  const { lines, code } = await linesOf(args, env);
  const [input] = artifacts(work);
  const progress = lines
    .flatMap((line) => /cov: (\d+) ft: (\d+)/.exec(line)?.slice(1) ?? [])
    .map(Number);
  const column = (i) => progress.filter((_, at) => at % 2 === i);
  const ends = (list) => [list[0] ?? 0, list.at(-1) ?? 0];
  // A process that ends early may not come to say them.
  const statistic = (label) => {
    const line = lines.findLast((one) => one.startsWith(`stat::${label}:`));
    return line === undefined ? null : Number(line.split(/\s+/)[1]);
  };
  const held = code === 0 && input === undefined;
  return {
    name,
    executions: statistic("number_of_executed_units"),
    edges: ends(column(0)),
    features: ends(column(1)),
    kept: statistic("new_units_added"),
    peakMegabytes: statistic("peak_rss_mb"),
    finding: held ? null : findingOf(name, lines, input === undefined ? null : join(work, input)),
  };
}

/** Inputs that ended a run. */
function artifacts(work) {
  return readdirSync(work).filter((file) => /^(crash|oom|timeout)-/.test(file));
}

function findingOf(name, lines, input) {
  const said = lines.find((line) =>
    /Uncaught Exception|^==timeout|ERROR: libFuzzer|Error:/.test(line),
  );
  return {
    message: `${name}: ${said?.trim() ?? lines.at(-1) ?? "ended without a word"}`,
    input,
    repeat: input === null ? null : `node test/fuzz/once.mjs ${name} ${input}`,
  };
}

async function linesOf(args, env) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines = [];
  const readers = [child.stdout, child.stderr].map((input) => createInterface({ input }));
  for (const reader of readers) {
    reader.on("line", (line) => {
      lines.push(line);
      if (process.env.FIRESTEEL_FUZZ_LOG) process.stderr.write(`${line}\n`);
    });
  }
  const [code] = await Promise.all([
    new Promise((resolve) => child.once("close", resolve)),
    ...readers.map((reader) => once(reader, "close")),
  ]);
  return { lines, code };
}

/** As libFuzzer's dictionaries write bytes. */
function escaped(word) {
  return [...Buffer.from(word)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
