import { existsSync, readdirSync, rmSync, watch } from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { differences, outcomeOf } from "./outcome.mjs";
import { beginArgs, resumeArgs, start } from "./process.mjs";
import { below, seeded } from "./seeded.mjs";
import { settings, systems } from "./settings.mjs";

/** What the kills of one run aim at, a sitting each; null: any of the others. */
const aims = ["start-up", "warm start", null, "steps", "writing", "end"];
const lanes = 2;

/**
 * `firesteel train` as a process, killed with SIGKILL at random instants of every part of its life and gone
 * on with, one kill after the other, until it comes to its end: which must be that of a run that nobody
 * disturbed. Two runs at a time.
 */
export async function kills({ api, short, kills, seed, progress }) {
  const failures = [];
  const figures = { kills: 0, ...Object.fromEntries(places.map((place) => [place, 0])) };
  Object.assign(figures, { "runs that ended": 0, "steps told of and done again": 0 });
  const chosen = short ? systems.slice(0, 1) : systems;
  for (const [i, system] of chosen.entries()) {
    const campaign = new Campaign(api, system);
    const straight = join(campaign.folder, "straight");
    const times = await timed(straight, beginArgs(system, straight));
    const expected = outcomeOf(straight);
    const wanted = Math.floor((kills * (i + 1)) / chosen.length);
    let taken = figures.kills;
    const lane = async (_, number) => {
      const uniform = seeded(seed + 1000 * i + 500 * number);
      for (let run = 0; taken < wanted && failures.length < 20; ++run) {
        const out = campaign.fresh(`killed-${number}`);
        let before = -2;
        for (let sitting = 0, ended = false; !ended; ++sitting) {
          const aimed = taken < wanted && sitting < aims.length;
          if (aimed) taken += 1;
          const where = `${system}, lane ${number}, run ${run}, sitting ${sitting}`;
          const args = before === -2 ? beginArgs(system, out) : resumeArgs(out);
          const aim = aimed ? instant(aims[sitting], before, times, uniform) : null;
          const result = await killedAt(aim, out, args);
          ended = result.signal !== "SIGKILL";
          if (ended) {
            // It may have come to its end before its kill: that goes to another.
            if (aimed) taken -= 1;
            figures["runs that ended"] += 1;
            const found =
              result.code === 0
                ? differences(outcomeOf(out), expected)
                : [`exit code ${result.code}: ${result.err}`];
            failures.push(...found.map((text) => `${where}: ${text}`));
            continue;
          }
          figures.kills += 1;
          progress(`${figures.kills} of ${kills}`);
          const found = await remains(api, out, before, result);
          figures[found.place] += 1;
          figures["steps told of and done again"] += Math.max(
            0,
            result.step - Math.max(0, found.step),
          );
          if (found.failure !== null) failures.push(`${where}: ${found.failure}`);
          before = Math.max(before, found.step);
        }
        rmSync(out, { recursive: true, force: true });
      }
    };
    await Promise.all(Array.from({ length: short ? 1 : lanes }, lane));
    campaign.end();
  }
  return { failures, figures };
}

const places = [
  "before the run's folder",
  "before a checkpoint",
  "within the warm start",
  "while steps ran",
  "writing a checkpoint",
  "after the last step",
];

/**
 * An instant of a process's life: what it is to be seen of first, and the milliseconds from there.
 *
 * @param aim one of `aims`
 * @param before the step that is safe; -1: within the warm start; -2: nothing is
 */
function instant(aim, before, times, uniform) {
  const begun = before >= 0;
  const any = aims.filter((name) => name !== null && !(begun && name === "warm start"));
  const part = aim ?? any[below(uniform, any.length)];
  // Close behind what is done, so that later kills find something left.
  const step = Math.min(settings.steps, Math.max(0, before) + 1 + below(uniform, 2));
  const seen = {
    "start-up": "process",
    "warm start": begun ? "process" : "folder",
    steps: `step ${step}`,
    writing: `.checkpoint-${step}.partial`,
    end: `step ${settings.steps}`,
  }[part];
  return { seen, after: uniform() * times[part] };
}

/** A process that trains and is killed at an instant, where there is one before its end. */
async function killedAt(aim, out, args) {
  let timer = null;
  let process = null;
  const see = (what) => {
    if (what === aim?.seen) timer ??= setTimeout(() => process.child.kill("SIGKILL"), aim.after);
  };
  process = start(args, { onLine: ({ event, step }) => event === "step" && see(`step ${step}`) });
  see("process");
  let stopLooking = () => {};
  if (aim !== null) stopLooking = entriesOf(out, see);
  const result = await process.ended;
  clearTimeout(timer);
  stopLooking();
  return result;
}

/** Tells of a folder ("folder") and of its entries by name, as they come. */
function entriesOf(out, see) {
  let watcher = null;
  const look = setInterval(() => {
    if (!existsSync(out)) return;
    clearInterval(look);
    see("folder");
    watcher = watch(out, (_, name) => see(name));
  }, 2);
  return () => {
    clearInterval(look);
    watcher?.close();
  };
}

/** What the parts of an undisturbed run's life take, by aim; milliseconds. */
async function timed(out, args) {
  const began = performance.now();
  const at = {};
  const see = (what) => {
    at[what] ??= performance.now() - began;
  };
  const stopLooking = entriesOf(out, see);
  const onLine = ({ event, step }) => event === "step" && see(`step ${step}`);
  const { code, err } = await start(args, { onLine }).ended;
  see("end");
  stopLooking();
  if (code !== 0) throw new Error(`the undisturbed run failed: ${err}`);
  const steps = at[`step ${settings.steps}`] - at["step 1"];
  return {
    "start-up": at.folder,
    "warm start": at[".checkpoint-0.partial"] - at.folder,
    steps: steps / (settings.steps - 1),
    writing: at["checkpoint-1"] - at[".checkpoint-1.partial"],
    end: at.end - at[`step ${settings.steps}`],
  };
}

/** What a killed process left: where the kill came, the step that is safe, and in what that is not enough. */
async function remains(api, out, before, { step: told, done }) {
  const entries = existsSync(out) ? readdirSync(out) : [];
  const writing = entries.some((name) => /^\.(checkpoint|warm-start).*partial$/.test(name));
  try {
    const { body } = await api.readCheckpoint(out);
    const { step, begun } = body.progress;
    const over = done || step === body.settings.steps;
    const place = over ? places[5] : writing ? places[4] : begun ? places[3] : places[2];
    const safe = begun ? step : -1;
    // A step that is told of is in flight until its checkpoint stands.
    let failure = null;
    if (step < told - 1)
      failure = `step ${told} was told of, and the checkpoint is of step ${step}`;
    if (safe < before)
      failure = `step ${before} had a checkpoint, and the newest is of step ${safe}`;
    return { place, step: safe, failure };
  } catch (error) {
    const clear = entries.length === 0 || /there is none|begin it again/.test(error.message);
    const excused = clear && before === -2 && told <= 0;
    const place = entries.length === 0 ? places[0] : places[1];
    return { place, step: -2, failure: excused ? null : error.message };
  }
}
