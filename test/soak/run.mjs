// A long run and many calls, and whether memory stays flat.
import { flag, progress, readFlags, text, whole, wrongUse } from "../commandLine.mjs";

const usage = `npm run test:soak -- [--steps 100000] [--calls 1000000] [--system grpo] [--seed 1] [--readings 60] [--json]
  0 steps or calls leave that part out`;

const { steps, calls, seed, readings, system, json } = readFlags(usage, {
  steps: whole(100_000, 0),
  calls: whole(1_000_000, 0),
  seed: whole(1, 0),
  // A slope over fewer says nothing.
  readings: whole(60, 12),
  system: text("grpo"),
  json: flag,
});
for (const [name, value] of Object.entries({ steps, calls })) {
  // Each reading takes a step, or a call.
  if (value > 0 && value < readings)
    wrongUse(`Expected at least ${readings} for --${name} but received ${value}`, usage);
}
if (globalThis.gc === undefined)
  wrongUse("Expected node --expose-gc (npm run test:soak has it)", usage);

const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const report = (what, { at, rss, heapUsed, live }) => {
  progress(`${what} ${at}  rss ${mib(rss)}  heap ${mib(heapUsed)}  live ${mib(live)}`);
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
progress("");

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
