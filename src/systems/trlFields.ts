import { didYouMean, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";

export const lossTypes = [
  "grpo",
  "dapo",
  "bnpo",
  "dr_grpo",
  "cispo",
  "sapo",
  "luspo",
  "vespo",
] as const;
export const samplingModes = [
  "token_truncate",
  "token_mask",
  "sequence_truncate",
  "sequence_mask",
] as const;

/** Fields of TRL's GRPOConfig with their defaults there. */
export const defaults = {
  loss_type: "dapo" as (typeof lossTypes)[number],
  scale_rewards: "group" as boolean | "group" | "batch" | "none",
  importance_sampling_level: "token" as "token" | "sequence",
  beta: 0,
  epsilon: 0.2,
  epsilon_high: null as number | null,
  delta: null as number | null,
  use_bias_correction_kl: false,
  off_policy_mask_threshold: null as number | null,
  sapo_temperature_pos: 1,
  sapo_temperature_neg: 1.05,
  vespo_k_pos: 2,
  vespo_lambda_pos: 3,
  vespo_k_neg: 3,
  vespo_lambda_neg: 2,
  entropy_coef: 0,
  reward_weights: null as readonly number[] | null,
  mask_truncated_completions: false,
  max_completion_length: 256,
  use_vllm: false,
  vllm_importance_sampling_correction: true,
  vllm_importance_sampling_mode: "sequence_mask" as (typeof samplingModes)[number],
  vllm_importance_sampling_clip_max: 3 as number | null,
  vllm_importance_sampling_clip_min: null as number | null,
};
export type Fields = typeof defaults;

/** Fields that are settings of a run here, under this name. */
export const settings = {
  num_generations: "numGenerations",
  num_iterations: "numIterations",
  temperature: "temperature",
  max_completion_length: "maxCompletionLength",
  learning_rate: "learningRate",
  max_grad_norm: "maxGradNorm",
  max_steps: "steps",
  weight_decay: "weightDecay",
  adam_beta1: "adamBeta1",
  adam_beta2: "adamBeta2",
  adam_epsilon: "adamEpsilon",
  seed: "seed",
  lr_scheduler_type: "lrSchedulerType",
  warmup_ratio: "warmupRatio",
  sync_ref_model: "syncRefModel",
  ref_model_mixup_alpha: "refModelMixupAlpha",
} as const;

/** Fields whose only value that has a counterpart here is the one given. */
const fixed: Readonly<Record<string, unknown>> = {
  multi_objective_aggregation: "sum_then_normalize",
  top_entropy_quantile: 1,
  use_adaptive_entropy: false,
  top_p: 1,
  top_k: 0,
  min_p: null,
  repetition_penalty: 1,
};

/** A field in TRL's spelling. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Refuses what TRL does not have, or what has no counterpart here. @throws FiresteelError ERR_OPTION */
export function checkField(name: string, value: unknown): void {
  const known = [...Object.keys(defaults), ...Object.keys(settings), ...Object.keys(fixed)];
  if (!known.includes(name)) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected fields of GRPOConfig that have a counterpart here but received ${show(name)}` +
        didYouMean(name, known),
    );
  }
  if (Object.hasOwn(fixed, name) && value !== fixed[name]) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected ${show(fixed[name])} for ${name} (others have no counterpart yet) but received ${show(value)}`,
    );
  }
}

/** Refuses fields that TRL would leave unread in this combination. @throws FiresteelError ERR_OPTION */
export function checkMeaning(c: Fields, given: Readonly<Record<string, unknown>>): void {
  const clips = ["grpo", "dapo", "bnpo", "dr_grpo", "luspo"].includes(c.loss_type);
  const unread: Record<string, string | null> = {
    delta: clips ? null : `loss_type is ${show(c.loss_type)}`,
    epsilon: clips ? null : `loss_type is ${show(c.loss_type)}`,
    epsilon_high: clips || c.loss_type === "cispo" ? null : `loss_type is ${show(c.loss_type)}`,
    use_bias_correction_kl: c.beta === 0 ? "beta is 0" : null,
  };
  for (const name of Object.keys(given)) {
    if (name.startsWith("sapo_"))
      unread[name] = c.loss_type === "sapo" ? null : "loss_type is not sapo";
    if (name.startsWith("vespo_"))
      unread[name] = c.loss_type === "vespo" ? null : "loss_type is not vespo";
    if (name.startsWith("vllm_")) unread[name] = c.use_vllm ? null : "use_vllm is false";
    const reason = unread[name];
    const value = given[name];
    if (!reason || value === null || value === false) continue;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected nothing for ${name} (${reason}) but received ${show(value)}`,
    );
  }
}
