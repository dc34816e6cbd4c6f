import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { differences, outcomeOf } from "./outcome.mjs";
import { beginArgs, resumeArgs, start } from "./process.mjs";
import { seeded } from "./seeded.mjs";
import { settings, systems } from "./settings.mjs";

/**
 * `firesteel train` as a process, killed with SIGKILL at random instants of its whole time and gone on with,
 * one kill after the other, until it comes to its end: which must be that of a run that nobody disturbed.
 */
export async function kills({ api, kills, seed, progress }) {
  const failures = [];
  const figures = { kills: 0, ...Object.fromEntries(places.map((place) => [place, 0])) };
  Object.assign(figures, { "runs that ended": 0, "steps told of and done again": 0 });
  for (const [i, system] of systems.entries()) {
    const campaign = new Campaign(api, system);
    const uniform = seeded(seed + 1000 * i);
    const straight = join(campaign.folder, "straight");
    const time = await timed(straight, beginArgs(system, straight));
    const expected = outcomeOf(straight);
    const wanted = Math.floor((kills * (i + 1)) / systems.length);
    while (figures.kills < wanted && failures.length < 20) {
      const out = campaign.fresh("killed");
      let left = null;
      for (let sitting = 0, ended = false; !ended; ++sitting) {
        const where = `${system}, run ${figures["runs that ended"]}, sitting ${sitting}`;
        const { child, ended: end } = start(
          left === null ? beginArgs(system, out) : resumeArgs(out),
        );
        // Up to five kills for one run, then it may come to its end.
        const rest = time.whole * (1 - (left ?? 0)) + time.start * (left ?? 0);
        const after = 0.8 * time.start + uniform() * (rest - 0.8 * time.start);
        const timer =
          figures.kills < wanted && sitting < 5 && setTimeout(() => child.kill("SIGKILL"), after);
        const result = await end;
        clearTimeout(timer);
        ended = result.signal !== "SIGKILL";
        if (ended) {
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
        const found = await remains(api, out, left !== null, result);
        figures[found.place] += 1;
        figures["steps told of and done again"] += Math.max(0, result.step - found.step);
        if (found.failure !== null) failures.push(`${where}: ${found.failure}`);
        if (found.place !== places[0]) left = Math.max(0, found.step) / settings.steps;
      }
      rmSync(out, { recursive: true, force: true });
    }
    campaign.end();
  }
  return { failures, figures };
}

const places = [
  "before a checkpoint",
  "within the warm start",
  "while steps ran",
  "writing a checkpoint",
  "after the last step",
];

/** An undisturbed run's time until its folder is there, and in all; milliseconds. */
async function timed(out, args) {
  const began = performance.now();
  let folder = null;
  const look = setInterval(() => {
    if (existsSync(out)) folder ??= performance.now() - began;
  }, 5);
  const { code, err } = await start(args).ended;
  clearInterval(look);
  if (code !== 0) throw new Error(`the undisturbed run failed: ${err}`);
  return { start: folder, whole: performance.now() - began };
}

/** What a killed process left: where the kill came, the step that is safe, and in what that is not enough. */
async function remains(api, out, before, { step: told, done }) {
  const entries = existsSync(out) ? readdirSync(out) : [];
  const writing = entries.some((name) => /^\.(checkpoint|warm-start).*partial$/.test(name));
  try {
    const { body } = await api.readCheckpoint(out);
    const { step, begun } = body.progress;
    const over = done || step === body.settings.steps;
    const place = over ? places[4] : writing ? places[3] : begun ? places[2] : places[1];
    // A step that is told of is in flight until its checkpoint stands.
    const failure =
      step < told - 1 ? `step ${told} was told of, and the checkpoint is of step ${step}` : null;
    return { place, step: begun ? step : -1, failure };
  } catch (error) {
    const clear = entries.length === 0 || /there is none|begin it again/.test(error.message);
    const excused = clear && !before && told <= 0;
    return { place: places[0], step: -1, failure: excused ? null : error.message };
  }
}
