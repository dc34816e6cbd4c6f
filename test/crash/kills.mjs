import { rmSync } from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { differences, outcomeOf } from "./outcome.mjs";
import { beginArgs, resumeArgs, start } from "./process.mjs";
import { seeded } from "./seeded.mjs";
import { systems } from "./settings.mjs";

/**
 * `firesteel train` as a process, killed with SIGKILL at random instants of its whole time and gone on with,
 * one kill after the other, until it comes to its end: which must be that of a run that nobody disturbed.
 */
export async function kills({ api, kills, seed, progress }) {
  const failures = [];
  const landed = {
    "before a checkpoint": 0,
    "within a warm start": 0,
    "while steps ran": 0,
    "writing a checkpoint": 0,
    "after the last step": 0,
  };
  let [killed, runs, lost] = [0, 0, 0];
  for (const [i, system] of systems.entries()) {
    const campaign = new Campaign(api, system);
    const uniform = seeded(seed + 1000 * i);
    const straight = join(campaign.folder, "straight");
    const began = performance.now();
    const whole = await start(beginArgs(system, straight)).ended;
    let usual = performance.now() - began;
    if (whole.code !== 0) throw new Error(`the undisturbed run of ${system} failed: ${whole.err}`);
    const expected = outcomeOf(straight);
    const share =
      Math.floor((kills * (i + 1)) / systems.length) - Math.floor((kills * i) / systems.length);
    for (let done = 0; done < share; ++runs) {
      const out = campaign.fresh("killed");
      let any = false;
      for (let sitting = 0, ended = false; !ended; ++sitting) {
        const where = `${system}, run ${runs}, sitting ${sitting}`;
        const { child, ended: end } = start(any ? resumeArgs(out) : beginArgs(system, out));
        // Up to five kills for one run, then it may come to its end.
        const wanted = done < share && sitting < 5;
        const timer = wanted ? setTimeout(() => child.kill("SIGKILL"), uniform() * usual) : null;
        const at = performance.now();
        const result = await end;
        clearTimeout(timer);
        ended = result.signal !== "SIGKILL";
        if (ended) {
          if (!any && sitting === 0) usual = (usual + performance.now() - at) / 2;
          if (result.code !== 0) failures.push(`${where}: exit code ${result.code}: ${result.err}`);
          else
            failures.push(
              ...differences(outcomeOf(out), expected).map((text) => `${where}: ${text}`),
            );
          continue;
        }
        done += 1;
        killed += 1;
        progress(`${killed} of ${kills} kills`);
        const found = await checkpointOf(api, out, any, landed, result);
        if (found.failure !== null) failures.push(`${where}: ${found.failure}`);
        lost += Math.max(0, result.step - found.step);
        any ||= found.any;
      }
      rmSync(out, { recursive: true, force: true });
      if (failures.length > 20) break;
    }
    campaign.end();
  }
  return {
    failures,
    figures: {
      kills: killed,
      ...landed,
      "runs that ended": runs,
      "steps told of and done again": lost,
    },
  };
}

/** What a killed process left, and whether it is enough. */
async function checkpointOf(api, out, before, landed, { step: told, done }) {
  const { existsSync, readdirSync } = await import("node:fs");
  const entries = existsSync(out) ? readdirSync(out) : [];
  const writing = entries.some((name) => /^\.(checkpoint|warm-start).*partial$/.test(name));
  try {
    const { body } = await api.readCheckpoint(out);
    const { step, begun } = body.progress;
    if (done || step === body.settings.steps) landed["after the last step"] += 1;
    else if (writing) landed["writing a checkpoint"] += 1;
    else landed[begun ? "while steps ran" : "within a warm start"] += 1;
    // The step that is told of is in flight until its checkpoint stands.
    const failure =
      step < told - 1 ? `step ${told} was told of, and the checkpoint is of step ${step}` : null;
    return { any: true, step: begun ? step : -1, failure };
  } catch (error) {
    landed["before a checkpoint"] += 1;
    if (before || told > 0) return { any: false, step: -1, failure: error.message };
    const clear = entries.length === 0 || /there is none|begin it again/.test(error.message);
    return { any: false, step: -1, failure: clear ? null : error.message };
  }
}
