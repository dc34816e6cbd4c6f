import type { Group, Trajectory } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { SampleRequest } from "../contract/sampler.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { mean } from "../statistics/mean.js";
import { extreme } from "./metrics.js";
import { type Run, refreshSampler } from "./run.js";

/** How often rollouts are asked for again before the sampler counts as broken. */
const attempts = 3;

/** Optimiser steps that the weights have seen since a rollout's own. */
export function staleness(updates: number, { policyVersion }: Trajectory): number {
  return Math.max(0, updates - policyVersion);
}

/** Of rollouts at hand; null where there are none. */
export function stalenessMetrics(groups: readonly Group[], updates: number): Metrics {
  const all = groups.flatMap(({ trajectories }) => trajectories.map((t) => staleness(updates, t)));
  return {
    "sampling/staleness/mean": mean(all),
    "sampling/staleness/max": extreme(all, Math.max),
  };
}

/**
 * Rollouts of the run's sampler, none older than `maxStaleness`: with `staleRollouts` "resample" the
 * sampler is told of the weights again and asked for those that are, on their own streams.
 *
 * @throws FiresteelError ERR_SAMPLER where they are too old, "resample": for the third time
 */
export async function fresh(
  run: Run,
  request: SampleRequest,
  draw: (request: SampleRequest) => Promise<Trajectory[]>,
): Promise<Trajectory[]> {
  const { maxStaleness, staleRollouts } = run.settings;
  const { updates } = run.progress;
  const rollouts = await draw(request);
  if (maxStaleness === null || staleRollouts === "drop") return rollouts;
  for (let attempt = 0; ; ++attempt) {
    const stale = rollouts.flatMap((t, i) => (staleness(updates, t) > maxStaleness ? [i] : []));
    if (stale.length === 0) return rollouts;
    if (staleRollouts === "refuse" || attempt === attempts) {
      const oldest = Math.max(...stale.map((i) => staleness(updates, rollouts[i]!)));
      throw new FiresteelError(
        "ERR_SAMPLER",
        `Expected rollouts at most ${maxStaleness} optimiser steps old (maxStaleness) from ` +
          `${show(run.sampler.name)} but ${stale.length} of ${rollouts.length} are up to ${oldest} old`,
      );
    }
    await refreshSampler(run);
    const again = await draw(onlyOf(request, stale));
    for (const [j, i] of stale.entries()) rollouts[i] = again[j]!;
  }
}

/** The request for some of its rollouts, by their number. */
function onlyOf(request: SampleRequest, rollouts: readonly number[]): SampleRequest {
  const promptOf = request.counts.flatMap((count, p) => Array<number>(count).fill(p));
  const counts = request.prompts.map(() => 0);
  for (const i of rollouts) counts[promptOf[i]!]! += 1;
  return { ...request, counts, streams: rollouts.map((i) => request.streams[i]!) };
}

/** Groups without the rollouts that `staleRollouts` "drop" leaves out. */
export function withoutStale(run: Run, groups: readonly Group[]): Group[] {
  const { maxStaleness, staleRollouts } = run.settings;
  if (maxStaleness === null || staleRollouts !== "drop") return [...groups];
  const { updates } = run.progress;
  return groups
    .map((group) => ({
      ...group,
      trajectories: group.trajectories.filter((t) => staleness(updates, t) <= maxStaleness),
    }))
    .filter(({ trajectories }) => trajectories.length > 0);
}
