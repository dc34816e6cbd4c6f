/** Calls everything that firesteel exports with arguments that nobody should give it. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { flag, oneOf, progress, readFlags, text, whole } from "../commandLine.mjs";
import { makeCalls } from "./batch.mjs";
import { run } from "./children.mjs";
import { entries } from "./entries.mjs";
import { closingTable, summary } from "./table.mjs";

const usage = `npm run test:hostile -- [--calls 1000000] [--seed 1] [--only NAME] [--device cpu|emulated]
    [--children 2] [--patience 10] [--json]
node test/hostile/run.mjs --seed S --call N     # one call again, in this process`;

const {
  json,
  call = null,
  only = null,
  ...how
} = readFlags(usage, {
  calls: whole(1_000_000),
  seed: whole(1),
  call: whole(null, 0),
  only: text(),
  device: oneOf(["cpu", "emulated"]),
  children: whole(2),
  patience: whole(10),
  json: flag,
});
if (call !== null) {
  let failed = false;
  const folder = mkdtempSync(`${tmpdir()}/firesteel-hostile-`);
  process.chdir(folder);
  await makeCalls(
    { ...how, only, from: call, to: call + 1, folder: `${folder}/call` },
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

const result = await run({
  ...how,
  only,
  onProgress: ({ calls, failures, crashes, hangs }) => {
    const bad = failures.length + crashes.length + hangs.length;
    progress(`${calls} of ${how.calls} calls, ${bad} failures`);
  },
});
progress("");
console.log(json ? JSON.stringify(summary(result, how)) : closingTable(result, how));
process.exit(result.failures.length + result.crashes.length + result.hangs.length === 0 ? 0 : 1);
