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
export async function faultPoints({ api, every, seed, progress }) {
  const failures = [];
  const figures = { operations: 0, deaths: 0, refusals: 0 };
  for (const system of every > 1 ? systems.slice(0, 1) : systems) {
    const campaign = new Campaign(api, system, { steps: 2, warmStart: false, report: true });
    await campaign.straight();
    const { operations } = await traced(campaign);
    figures.operations += operations.length;
    for (const [n, { kind, path }] of operations.entries()) {
      if ((n + seed) % every !== 0) continue;
      const name = `${system}, operation ${n} (${kind} ${path.slice(campaign.folder.length + 1)})`;
      progress(name);
      const whens = kind === "write" ? ["before", "half", "after"] : ["before", "after"];
      for (const when of every > 1 ? [whens[n % whens.length]] : whens) {
        await cutOff(campaign, `${name}, killed ${when}`, dyingAt(n, when));
        figures.deaths += 1;
      }
      for (const code of every > 1 ? [codes[n % codes.length]] : codes) {
        const error = await cutOff(campaign, `${name}, ${code}`, refusingAt(n, code));
        checkRefusal(campaign, `${name}, ${code}`, error, code);
        figures.refusals += 1;
      }
      if (campaign.failures.length > 20) break;
    }
    failures.push(...campaign.failures);
    campaign.end();
  }
  return { failures, figures };
}

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

/** SIGKILL from within the process, at operations of its checkpoints: a process each. */
export async function killPoints({ api, points, seed, progress }) {
  const campaign = new Campaign(api, "grpo", { steps: 3, report: true });
  await campaign.straight();
  const { operations } = await traced(campaign);
  const within = operations
    .filter(({ path }) => /\.?checkpoint-1\b/.test(path))
    .map(({ index }) => index);
  const chosen = within.filter(
    (_, i) => (i + seed) % Math.max(1, Math.ceil(within.length / points)) === 0,
  );
  const figures = { "processes that killed themselves": 0 };
  for (const at of chosen) {
    const { kind, path } = operations[at];
    for (const when of kind === "write" ? ["before", "half", "after"] : ["before", "after"]) {
      const where = `grpo, operation ${at} (${kind} ${path.slice(campaign.folder.length + 1)}), SIGKILL ${when}`;
      progress(where);
      const out = campaign.fresh("traced");
      const crash = JSON.stringify({ root: campaign.folder, at, when });
      const args = beginArgs("grpo", out, { warmStart: false, steps: 3 });
      const result = await start(args, { imports: [killer], env: { FIRESTEEL_CRASH: crash } })
        .ended;
      if (result.signal !== "SIGKILL")
        campaign.fail(where, `it ended with ${result.code}: ${result.err}`);
      figures["processes that killed themselves"] += 1;
      await campaign.finish(where, out, await campaign.check(where, out, result.step - 1));
    }
  }
  campaign.end();
  return { failures: campaign.failures, figures };
}
