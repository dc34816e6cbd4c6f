// A long run and many calls, and whether memory stays flat:
//   npm run test:soak -- [--steps 100000] [--calls 1000000] [--system grpo] [--seed 1] [--json]
// 0 steps or calls leave that part out.
import { parseArgs } from "node:util";
import { soakCalls } from "./kernelCalls.mjs";
import { table } from "./memory.mjs";
import { soakSteps } from "./steps.mjs";

const usage =
  "npm run test:soak -- [--steps 100000] [--calls 1000000] [--system grpo] [--seed 1] [--json]";

function wrongUse(message) {
  console.error(`${message}\n${usage}`);
  process.exit(2);
}

function settings() {
  const options = {
    steps: { type: "string", default: "100000" },
    calls: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    system: { type: "string", default: "grpo" },
    json: { type: "boolean", default: false },
  };
  try {
    const { values } = parseArgs({ options });
    for (const name of ["steps", "calls", "seed"]) {
      // Fewer readings than a slope needs say nothing.
      const least = name === "seed" ? 0 : 300;
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < 0 || value > 2 ** 31 - 1) {
        wrongUse(`Expected a whole number for --${name} but received ${values[name]}`);
      }
      if (value > 0 && value < least) wrongUse(`Expected at least ${least} for --${name}, or 0`);
      values[name] = value;
    }
    return values;
  } catch (error) {
    return wrongUse(error.message);
  }
}

const { steps, calls, seed, system, json } = settings();
if (globalThis.gc === undefined) wrongUse("Expected node --expose-gc (npm run test:soak has it)");

const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const report = (what, { at, rss, heapUsed, live }) => {
  if (!process.stderr.isTTY) return;
  const memory = `rss ${mib(rss)}  heap ${mib(heapUsed)}  live ${mib(live)}`;
  process.stderr.write(`\r\x1b[K${what} ${at}  ${memory}`);
};

const results = {};
if (calls > 0) results.calls = await soakCalls({ calls, seed, report });
if (steps > 0) results.steps = await soakSteps({ steps, seed, system, report });
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
    console.log(`${table(results.calls.samples, results.calls)}\n`);
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
    console.log(`${table(results.steps.samples, results.steps)}\n`);
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
