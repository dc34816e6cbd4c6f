import type { StageBlock } from "../contract/block.js";
import type { Group, Trajectory } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { StepContext } from "../contract/stage.js";
import type { Phase } from "../contract/system.js";
import { stepContext } from "./context.js";
import { Measures, rolloutMetrics } from "./metrics.js";
import { type Run, refreshSampler } from "./run.js";
import { stalenessMetrics, withoutStale } from "./staleness.js";
import { tell } from "./tell.js";
import { updatePhase } from "./update.js";

/** One phase of one step, from prompts to updated weights; null where its source had no prompts. */
export async function runPhase(run: Run, phase: Phase, step: number): Promise<Metrics | null> {
  const measures = new Measures();
  const measure = measures.add.bind(measures);
  const ctx = stepContext(run, phase, step, measure);

  const begun = performance.now();
  const prompts =
    phase.source === null
      ? ctx.prompts(run.settings.promptsPerStep)
      : await phase.source.run(undefined, ctx);
  if (prompts.length === 0) return null;
  let groups = await phase.rollout.run(prompts, ctx);
  const sampled = performance.now();

  groups = await through(phase.probe, groups, ctx);
  groups = await rewarded(groups, ctx);
  const whole = groups;
  const ages = stalenessMetrics(whole, run.progress.updates);
  groups = withoutStale(run, groups);
  groups = await trainingGroups(phase, groups, ctx);

  const learning = performance.now();
  const trainedActions = await updatePhase(run, phase, groups, step, measure);
  const done = performance.now();
  if (phase.model === "policy") await refreshSampler(run);

  const all = whole.flatMap((group) => group.trajectories);
  const actions = all.reduce((sum, t) => sum + t.actions.length, 0);
  const metrics: Metrics = {
    ...rolloutMetrics(whole),
    ...ages,
    ...measures.values(),
    num_tokens: run.progress.tokens,
    "tokens_per_second/generate": rate(actions, sampled - begun),
    "tokens_per_second/train": rate(trainedActions, done - learning),
    "time/generate": (sampled - begun) / 1000,
    "time/reward": (learning - sampled) / 1000,
    "time/train": (done - learning) / 1000,
  };
  const outcome = { phase: phase.name, groups: whole, trained: groups, metrics };
  for (const observer of phase.observe) await observer.run(outcome, ctx);
  // What observers have measured, too.
  const told = { ...metrics, ...measures.values() };
  await tell(run, "phase", { ...outcome, metrics: told, step });
  return told;
}

/** From rewarded rollouts to the rows that the loss sees: statistics, credit, selection, weights. */
export async function trainingGroups(
  phase: Phase,
  rewarded: readonly Group[],
  ctx: StepContext,
): Promise<Group[]> {
  const { filter, advantage, credit, rows, select, weight } = phase;
  const blocks = [...filter, advantage, ...credit, rows, ...select, ...weight];
  return through(
    blocks.filter((block) => block !== null),
    [...rewarded],
    ctx,
  );
}

async function through(
  blocks: readonly StageBlock<readonly Group[], Group[]>[],
  groups: Group[],
  ctx: StepContext,
): Promise<Group[]> {
  let out = groups;
  for (const block of blocks) out = await block.run(out, ctx);
  return out;
}

/** Rewards what the rollout has not rewarded already. */
async function rewarded(groups: readonly Group[], ctx: StepContext): Promise<Group[]> {
  const bare = groups
    .flatMap((group) => group.trajectories)
    .filter((t) => Object.keys(t.rewards).length === 0);
  if (bare.length === 0) return [...groups];
  const found = await ctx.reward(bare);
  const byRow = new Map<Trajectory, Trajectory>(bare.map((t, i) => [t, found[i]!]));
  return groups.map((group) => ({
    ...group,
    trajectories: group.trajectories.map((t) => byRow.get(t) ?? t),
  }));
}

function rate(count: number, milliseconds: number): number | null {
  return milliseconds > 0 ? (1000 * count) / milliseconds : null;
}
