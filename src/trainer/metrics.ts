import type { Group } from "../contract/data.js";
import type { Measure, Metrics } from "../contract/metrics.js";
import { mean, sampleStd } from "../statistics/mean.js";

/** Adds up parts of metrics: micro-batches within an update first, then updates. */
export class Measures {
  readonly #parts = new Map<string, Measure[]>();

  add(name: string, measure: Measure): void {
    const parts = this.#parts.get(name);
    if (parts === undefined) this.#parts.set(name, [measure]);
    else parts.push(measure);
  }

  /** Everything of an update's micro-batches as one part each. */
  merged(): [string, Measure][] {
    return [...this.#parts].map(([name, parts]) => [name, parts.reduce(merge)]);
  }

  /** Values by name; null where nothing was counted. */
  values(): Metrics {
    const out: Metrics = {};
    for (const [name, parts] of this.#parts) {
      out[name] = reported(parts.reduce(merge));
    }
    return out;
  }
}

function merge(a: Measure, b: Measure): Measure {
  if (a.kind === "mean" && b.kind === "mean") {
    return { kind: "mean", sum: a.sum + b.sum, count: a.count + b.count };
  }
  const value = (m: Measure) => (m.kind === "mean" ? m.sum / m.count : m.value);
  return a.kind === "min"
    ? { kind: "min", value: Math.min(a.value, value(b)) }
    : { kind: "max", value: Math.max(value(a), value(b)) };
}

function reported(measure: Measure): number | null {
  if (measure.kind !== "mean") return finite(measure.value);
  return measure.count === 0 ? null : finite(measure.sum / measure.count);
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** The least or the greatest; null where there are none. */
export function extreme(
  values: readonly number[],
  pick: (...values: number[]) => number,
): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => pick(a, b));
}

/**
 * What TRL reports of a batch of rewarded rollouts, by its names: `reward_std` is the sample std over
 * the whole batch, `frac_reward_zero_std` the share of groups without two different rewards, lengths
 * count the token that ended a completion, and what has not ended by itself is clipped.
 */
export function rolloutMetrics(groups: readonly Group[]): Metrics {
  const all = groups.flatMap((group) => group.trajectories);
  const present = (values: readonly (number | null)[]) => values.filter((value) => value !== null);
  const rewards = present(all.map((t) => t.reward));
  const lengths = all.map((t) => t.actions.length);
  const ended = all.filter((t) => t.finish === "stop").map((t) => t.actions.length);
  const constant = groups.map((group) => {
    const [first, ...others] = present(group.trajectories.map((t) => t.reward));
    return others.every((reward) => reward === first) ? 1 : 0;
  });
  const metrics: Metrics = {
    reward: mean(rewards),
    reward_std: sampleStd(rewards),
    frac_reward_zero_std: mean(constant),
  };
  for (const name of new Set(all.flatMap((t) => Object.keys(t.rewards)))) {
    const values = present(all.map((t) => t.rewards[name] ?? null));
    metrics[`rewards/${name}/mean`] = mean(values);
    metrics[`rewards/${name}/std`] = sampleStd(values);
  }
  return {
    ...metrics,
    "completions/mean_length": mean(lengths),
    "completions/min_length": extreme(lengths, Math.min),
    "completions/max_length": extreme(lengths, Math.max),
    "completions/mean_terminated_length": mean(ended),
    "completions/min_terminated_length": extreme(ended, Math.min),
    "completions/max_terminated_length": extreme(ended, Math.max),
    "completions/clipped_ratio": mean(all.map((t) => (t.finish === "stop" ? 0 : 1))),
  };
}

/** How far the sampler's log-probs lie from the trainer's, over trained actions that have both. */
export function samplingMetrics(pairs: readonly { sampler: number; trainer: number }[]): Metrics {
  const differences = pairs.map(({ sampler, trainer }) => Math.abs(trainer - sampler));
  const ratios = pairs.map(({ sampler, trainer }) => Math.exp(trainer - sampler));
  return {
    "sampling/sampling_logp_difference/mean": mean(differences),
    "sampling/sampling_logp_difference/max": extreme(differences, Math.max),
    "sampling/importance_sampling_ratio/min": extreme(ratios, Math.min),
    "sampling/importance_sampling_ratio/mean": mean(ratios),
    "sampling/importance_sampling_ratio/max": extreme(ratios, Math.max),
  };
}

/** What every step reports, null where it does not exist. */
export const stepMetrics: Metrics = Object.fromEntries(
  [
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "loss",
    "kl",
    "entropy",
    ...["low_mean", "low_min", "high_mean", "high_max", "region_mean"].map(
      (name) => `clip_ratio/${name}`,
    ),
    ...Object.keys(rolloutMetrics([])).filter((name) => name.startsWith("completions/")),
    ...Object.keys(samplingMetrics([])),
    "sampling/staleness/mean",
    "sampling/staleness/max",
    "learning_rate",
    "grad_norm",
    "num_tokens",
    "step_time",
    "eval/accuracy",
    "tokens_per_second/generate",
    "tokens_per_second/train",
    "time/generate",
    "time/reward",
    "time/train",
  ].map((name) => [name, null]),
);
