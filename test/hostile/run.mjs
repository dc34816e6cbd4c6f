/**
 * Calls everything that firesteel exports with arguments that nobody should give it.
 *
 *   node test/hostile/run.mjs [--calls 1000000] [--seed 1] [--only NAME] [--device cpu|emulated]
 *                             [--children 2] [--patience 10] [--json]
 *   node test/hostile/run.mjs --seed S --call N     # one call again, in this process
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { makeCalls } from "./batch.mjs";
import { run } from "./children.mjs";
import { entries } from "./entries.mjs";
import { closingTable, summary } from "./table.mjs";

const usage = "node test/hostile/run.mjs [--calls N] [--seed S] [--only NAME] [--call N] [--json]";

function options() {
  const text = { type: "string" };
  const { values } = parseArgs({
    options: {
      calls: { ...text, default: "1000000" },
      seed: { ...text, default: "1" },
      call: text,
      only: text,
      device: { ...text, default: "cpu" },
      children: { ...text, default: "2" },
      patience: { ...text, default: "10" },
      json: { type: "boolean", default: false },
    },
  });
  const whole = (name) => {
    const value = Number(values[name]);
    if (Number.isSafeInteger(value) && value >= (name === "call" ? 0 : 1)) return value;
    throw new Error(`Expected a whole number for --${name} but received ${values[name]}`);
  };
  if (!["cpu", "emulated"].includes(values.device)) {
    throw new Error(`Expected cpu or emulated for --device but received ${values.device}`);
  }
  return {
    calls: whole("calls"),
    seed: whole("seed"),
    call: values.call === undefined ? null : whole("call"),
    only: values.only ?? null,
    device: values.device,
    children: whole("children"),
    patience: whole("patience"),
    json: values.json,
  };
}

let given;
try {
  given = options();
} catch (error) {
  console.error(`${error.message}\n${usage}`);
  process.exit(2);
}

const { json, call, ...how } = given;
if (call !== null) {
  let failed = false;
  const folder = mkdtempSync(`${tmpdir()}/firesteel-hostile-`);
  process.chdir(folder);
  await makeCalls(
    { ...how, from: call, to: call + 1, folder: `${folder}/call` },
    () => {},
    (message) => {
      failed ||= message.failure !== undefined;
      console.log(JSON.stringify(message));
    },
  );
  process.exit(failed ? 1 : 0);
}

const { missing } = await entries();
if (missing.length > 0) {
  console.error(
    `Neither a seed (test/hostile/seeds) nor a reason (entries.mjs) for ${missing.join(", ")}`,
  );
  process.exit(1);
}

const terminal = process.stderr.isTTY && !json;
const result = await run({
  ...how,
  onProgress: ({ calls, failures, crashes, hangs }) => {
    const bad = failures.length + crashes.length + hangs.length;
    if (terminal) process.stderr.write(`\r${calls} of ${how.calls} calls, ${bad} failures `);
  },
});
if (terminal) process.stderr.write("\r\x1b[K");
console.log(json ? JSON.stringify(summary(result, how)) : closingTable(result, how));
process.exit(result.failures.length + result.crashes.length + result.hangs.length === 0 ? 0 : 1);
