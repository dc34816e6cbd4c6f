import { rmSync } from "node:fs";
import { Campaign } from "./campaign.mjs";
import { codes, dyingAt, refusingAt } from "./faults.mjs";
import { watchFiles } from "./fileOperations.mjs";
import { beginArgs, start } from "./process.mjs";
import { systems } from "./settings.mjs";

const killer = new URL("killAtOperation.mjs", import.meta.url).href;

/**
 * Every file operation of a run, from its folder to its report: there the process dies before, amid or after
 * it, or the system refuses it. What is left must go on to the end of an undisturbed run.
 *
 * @param every only each such point; 1: all
 */
export async function faultPoints({ api, short, every, seed, progress }) {
  const failures = [];
  const figures = { operations: 0, points: 0, deaths: 0, refusals: 0 };
  for (const system of short ? systems.slice(0, 1) : systems) {
    const campaign = new Campaign(api, system, { steps: 2, warmStart: false, report: true });
    await campaign.straight();
    const { operations } = await traced(campaign);
    figures.operations += operations.length;
    for (const { at, name, when, code } of pointsOf(operations, campaign.folder)) {
      figures.points += 1;
      if ((figures.points + seed) % every !== 0) continue;
      const where = `${system}, operation ${at} (${name}), ${when ? `killed ${when}` : code}`;
      progress(where);
      if (when) {
        await cutOff(campaign, where, dyingAt(at, when));
        figures.deaths += 1;
      } else {
        checkRefusal(campaign, where, await cutOff(campaign, where, refusingAt(at, code)), code);
        figures.refusals += 1;
      }
      if (campaign.failures.length > 20) break;
    }
    failures.push(...campaign.failures);
    campaign.end();
  }
  return { failures, figures };
}

/** Every death and every refusal at each operation. */
function pointsOf(operations, folder) {
  return operations.flatMap(({ index: at, kind, path }) => {
    const name = `${kind} ${path.slice(folder.length + 1)}`;
    return [
      ...whensOf(kind).map((when) => ({ at, name, when })),
      ...codes.map((code) => ({ at, name, code })),
    ];
  });
}

const whensOf = (kind) => (kind === "write" ? ["before", "half", "after"] : ["before", "after"]);

/** The operations of a whole run, in their order. */
export async function traced(campaign, options = {}) {
  const out = campaign.fresh("traced");
  const operations = [];
  // By operations done: the step whose checkpoint was announced then.
  const announced = [];
  const stop = await watchFiles(campaign.folder, (operation, run) => {
    operations.push(operation);
    return run();
  });
  try {
    const checkpoint = ({ step }) => announced.push({ operations: operations.length, step });
    await campaign.begin(out, { ...options, callbacks: [{ checkpoint }] });
  } finally {
    stop();
  }
  return { out, operations, announced };
}

/** A run with a fault, what it left, and what comes of that. */
async function cutOff(campaign, where, perform) {
  const out = campaign.fresh("traced");
  let told = -1;
  let failure = null;
  const stop = await watchFiles(campaign.folder, perform);
  try {
    const checkpoint = ({ step }) => {
      told = step;
    };
    await campaign.begin(out, { callbacks: [{ checkpoint }] });
  } catch (error) {
    failure = error;
  } finally {
    stop();
  }
  const any = await campaign.check(where, out, told);
  await campaign.finish(where, out, any);
  rmSync(out, { recursive: true, force: true });
  return failure;
}

function checkRefusal(campaign, where, error, code) {
  // Hard links and clearing away what is half-written have another way to the same end.
  if (error === null) return;
  if (!(error instanceof campaign.api.FiresteelError)) campaign.fail(where, `not ours: ${error}`);
  else if (!error.message.includes(code))
    campaign.fail(where, `without its reason: ${error.message}`);
}

/**
 * SIGKILL from within the process, before, amid and after operations of a checkpoint: a process each.
 *
 * @param every only each such point; 1: all
 */
export async function killPoints({ api, every, seed, progress }) {
  const campaign = new Campaign(api, "grpo", { steps: 3, report: true });
  await campaign.straight();
  const { operations } = await traced(campaign);
  const points = operations
    .filter(({ path }) => /\.?checkpoint-1\b/.test(path))
    .flatMap((operation) => whensOf(operation.kind).map((when) => ({ ...operation, when })));
  const figures = { points: points.length, "processes that killed themselves": 0 };
  for (const [n, { index: at, kind, path, when }] of points.entries()) {
    if ((n + seed) % every !== 0) continue;
    const where = `grpo, operation ${at} (${kind} ${path.slice(campaign.folder.length + 1)}), SIGKILL ${when}`;
    progress(where);
    const out = campaign.fresh("traced");
    const crash = JSON.stringify({ root: campaign.folder, at, when });
    const args = beginArgs("grpo", out, { warmStart: false, steps: 3 });
    const result = await start(args, { imports: [killer], env: { FIRESTEEL_CRASH: crash } }).ended;
    if (result.signal !== "SIGKILL")
      campaign.fail(where, `it ended with ${result.code}: ${result.err}`);
    figures["processes that killed themselves"] += 1;
    await campaign.finish(where, out, await campaign.check(where, out, result.step - 1));
    if (campaign.failures.length > 20) break;
  }
  campaign.end();
  return { failures: campaign.failures, figures };
}
