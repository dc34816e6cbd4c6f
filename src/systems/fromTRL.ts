import { groupNormalize } from "../blocks/advantage/groupNormalize.js";
import { type SurrogateOptions, surrogate } from "../blocks/loss/surrogate.js";
import { reward } from "../blocks/reward/reward.js";
import { maskTruncated } from "../blocks/select/maskTruncated.js";
import type { System } from "../contract/system.js";
import {
  anObject,
  aText,
  checkArguments,
  listOf,
  optional,
  withFields,
} from "../engine/arguments.js";
import { checkChoice, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { defineSystem } from "./defineSystem.js";
import {
  checkField,
  checkMeaning,
  defaults,
  type Fields,
  lossTypes,
  samplingModes,
  settings,
  snakeCase,
} from "./trlFields.js";

/** What a GRPOConfig says, in this project's terms. */
export interface FromTRL {
  system: System;
  /** For `train`: only what the config gives. */
  settings: {
    [K in (typeof settings)[keyof typeof settings]]?: K extends "lrSchedulerType"
      ? "constant" | "linear" | "cosine"
      : K extends "syncRefModel"
        ? boolean
        : number;
  };
}

/**
 * A recipe from the fields of TRL's `GRPOConfig`, in its spelling or in camelCase. Bundles come apart
 * into this project's axes: `loss_type` into form, level and aggregation, `scale_rewards` into scale and
 * scope, `importance_sampling_level` into level. Differences that remain, on purpose: a mean of "bnpo"
 * is over the whole optimiser step, not the micro-batch, and masked tokens never get a gradient (TRL's
 * "luspo" lets them where the loss is per token).
 *
 * @param config as in TRL at version 1.0 of 2026; what is not given has TRL's default
 * @param options `rewards`: names of the rewards in the order of `reward_weights`
 * @throws FiresteelError ERR_OPTION for a field that TRL does not have, that has no counterpart here, or
 *   that its other fields make meaningless
 */
export function fromTRL(
  config: Readonly<Record<string, unknown>>,
  options: { rewards?: readonly string[] } = {},
): FromTRL {
  checkArguments(
    { config, options },
    { config: anObject, options: withFields({ rewards: optional(listOf(aText)) }) },
  );
  const { rewards = [] } = options;
  const given = Object.fromEntries(
    Object.entries(config).map(([name, value]) => [snakeCase(name), value]),
  );
  for (const [name, value] of Object.entries(given)) checkField(name, value);
  const c = { ...defaults, ...given } as Fields;
  checkChoice("loss_type", c.loss_type, lossTypes);
  checkMeaning(c, given);
  const system = defineSystem({
    id: `trl-${c.loss_type.replace("_", "-")}`,
    title: `GRPOTrainer with loss_type ${show(c.loss_type)}`,
    arxiv: null,
    evidence: "high",
    reward: reward({ rewardWeights: rewardWeights(c, rewards) }),
    advantage: groupNormalize(advantageOptions(c)),
    select: c.mask_truncated_completions ? maskTruncated() : undefined,
    loss: [surrogate(lossOptions(c))],
  });
  const ran = Object.entries(settings)
    .filter(([name]) => given[name] !== undefined)
    .map(([name, own]) => [own, given[name]]);
  return { system, settings: Object.fromEntries(ran) };
}

function rewardWeights(c: Fields, names: readonly string[]): Record<string, number> {
  const weights = c.reward_weights ?? [];
  if (weights.length > 0 && weights.length !== names.length) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected ${weights.length} names in rewards, one for each of reward_weights, but received ${names.length}`,
    );
  }
  return Object.fromEntries(weights.map((weight, i) => [names[i]!, weight]));
}

function advantageOptions(c: Fields): Parameters<typeof groupNormalize>[0] {
  const scale =
    typeof c.scale_rewards === "boolean" ? (c.scale_rewards ? "group" : "none") : c.scale_rewards;
  checkChoice("scale_rewards", scale, ["group", "batch", "none"]);
  return scale === "none"
    ? { scale: "none" }
    : { scale: "std", scope: scale as "group" | "batch", ddof: 1, eps: 1e-4 };
}

/** Aggregation by loss_type; rows without a trained token count, as TRL's means over rows do. */
function aggregationOptions(c: Fields): SurrogateOptions {
  switch (c.loss_type) {
    case "grpo":
    case "sapo":
      return { aggregation: "seq-mean-token-mean", emptyRows: "count" };
    case "dr_grpo":
      return {
        aggregation: "seq-mean-token-sum-norm",
        horizon: c.max_completion_length,
        emptyRows: "count",
      };
    case "luspo":
      return { aggregation: "seq-mean-token-sum", emptyRows: "count" };
    default:
      return { aggregation: "token-mean" };
  }
}

function formOptions(c: Fields): SurrogateOptions {
  const level = c.importance_sampling_level;
  checkChoice("importance_sampling_level", level, ["token", "sequence"]);
  switch (c.loss_type) {
    case "cispo":
      return { form: "cispo", level, clipRange: [0, c.epsilon_high ?? c.epsilon] };
    case "sapo":
      return {
        form: "sapo",
        level,
        tauPositive: c.sapo_temperature_pos,
        tauNegative: c.sapo_temperature_neg,
      };
    case "vespo":
      return {
        form: "vespo",
        level: "sequence-product",
        kPositive: c.vespo_k_pos,
        lambdaPositive: c.vespo_lambda_pos,
        kNegative: c.vespo_k_neg,
        lambdaNegative: c.vespo_lambda_neg,
      };
    default:
      return {
        form: "clip",
        level,
        epsilon: c.epsilon,
        epsilonHigh: c.epsilon_high,
        delta: c.delta,
      };
  }
}

function lossOptions(c: Fields): SurrogateOptions {
  const corrected = c.use_vllm && c.vllm_importance_sampling_correction;
  checkChoice("vllm_importance_sampling_mode", c.vllm_importance_sampling_mode, samplingModes);
  return {
    ...formOptions(c),
    ...aggregationOptions(c),
    beta: c.beta,
    ...(typeof c.beta === "number" && c.beta > 0
      ? { klEstimator: "k3", klRatio: c.use_bias_correction_kl }
      : {}),
    offPolicyThreshold: c.off_policy_mask_threshold,
    ...(corrected
      ? {
          mismatch: c.vllm_importance_sampling_mode.replace(
            "_",
            "-",
          ) as SurrogateOptions["mismatch"],
          mismatchLow: c.vllm_importance_sampling_clip_min ?? 0,
          mismatchHigh: c.vllm_importance_sampling_clip_max ?? Number.MAX_VALUE,
        }
      : {}),
    ...(c.entropy_coef === 0
      ? {}
      : { entropyCoefficient: c.entropy_coef, entropyAggregation: "token-mean" }),
  };
}
