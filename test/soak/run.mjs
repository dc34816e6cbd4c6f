// A long run and many calls, and whether memory stays flat:
//   npm run test:soak -- [--steps 100000] [--calls 1000000] [--system grpo] [--seed 1] [--readings 60] [--json]
// 0 steps or calls leave that part out.
import { parseArgs } from "node:util";

const usage =
  "npm run test:soak -- [--steps 100000] [--calls 1000000] [--system grpo] [--seed 1] [--readings 60] [--json]";

function wrongUse(message) {
  console.error(`${message}\n${usage}`);
  process.exit(2);
}

function settings() {
  const options = {
    steps: { type: "string", default: "100000" },
    calls: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    readings: { type: "string", default: "60" },
    system: { type: "string", default: "grpo" },
    json: { type: "boolean", default: false },
  };
  try {
    const { values } = parseArgs({ options });
    for (const name of ["readings", "steps", "calls", "seed"]) {
      // A slope over fewer readings says nothing; each takes a step, or a call.
      const least = name === "readings" ? 12 : name === "seed" ? 0 : values.readings;
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < 0 || value > 2 ** 31 - 1) {
        wrongUse(`Expected a whole number for --${name} but received ${values[name]}`);
      }
      if (value < least && (value > 0 || name === "readings")) {
        wrongUse(`Expected at least ${least} for --${name} but received ${value}`);
      }
      values[name] = value;
    }
    return values;
  } catch (error) {
    return wrongUse(error.message);
  }
}

const { steps, calls, seed, readings, system, json } = settings();
if (globalThis.gc === undefined) wrongUse("Expected node --expose-gc (npm run test:soak has it)");

const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const report = (what, { at, rss, heapUsed, live }) => {
  if (!process.stderr.isTTY) return;
  const memory = `rss ${mib(rss)}  heap ${mib(heapUsed)}  live ${mib(live)}`;
  process.stderr.write(`\r\x1b[K${what} ${at}  ${memory}`);
};

const [{ soakCalls }, { table }, { soakSteps }] = await Promise.all([
  import("./kernelCalls.mjs"),
  import("./memory.mjs"),
  import("./steps.mjs"),
]);
const left = ({ leftBytes }) => `bytes of tensors left when nothing refers to any: ${leftBytes}`;

const results = {};
if (calls > 0) results.calls = await soakCalls({ calls, seed, readings, report });
if (steps > 0) results.steps = await soakSteps({ steps, seed, system, readings, report });
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");

const held = Object.values(results).every((result) => result.held);
if (json) {
  console.log(JSON.stringify({ held, seed, ...results }));
} else {
  if (results.calls) {
    const { threads, families, faultReports } = results.calls;
    const least = Math.min(...Object.values(families));
    console.log(
      `${calls} kernel calls on ${threads} threads: ${Object.keys(families).length} families, each at least ` +
        `${least} times; ${faultReports} reports of faulty rows`,
    );
    console.log(table(results.calls.samples, results.calls));
    console.log(`${left(results.calls)}\n`);
  }
  if (results.steps) {
    const { seconds, files } = results.steps;
    console.log(
      `${steps} training steps of ${system}: ${seconds.toFixed(0)} s, metrics.jsonl ${mib(files.metricsBytes)}, ` +
        `rollouts.jsonl ${mib(files.rolloutsBytes)}`,
    );
    console.log(
      `its report: ${mib(files.reportBytes)} in ${files.reportSeconds.toFixed(1)} s, for which the process grew by ` +
        `${mib(files.reportPeakBytes)}`,
    );
    console.log(table(results.steps.samples, results.steps));
    console.log(`${left(results.steps)}\n`);
  }
  const only = (part) => (part === "calls" ? "--steps 0" : "--calls 0");
  for (const [part, result] of Object.entries(results)) {
    if (result.held) continue;
    const flags = `--seed ${seed} --${part} ${result[part]} ${only(part)}`;
    const extra = part === "steps" ? ` --system ${system}` : "";
    console.log(`memory rises: npm run test:soak -- ${flags}${extra}`);
  }
  console.log(held ? "memory is flat" : "memory is not flat");
}
process.exitCode = held ? 0 : 1;
