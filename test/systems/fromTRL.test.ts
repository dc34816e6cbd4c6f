import { describe, expect, test } from "vitest";
import { FiresteelError, fromTRL, printSystem, systemBlocks } from "../../src/index.js";

function optionsOf(config: Record<string, unknown>, how = {}) {
  const blocks = systemBlocks(fromTRL(config, how).system);
  const of = (at: string) => blocks.find((block) => block.at === at)!.options;
  return { loss: of("loss"), advantage: of("advantage"), reward: of("reward") };
}

describe("fromTRL", () => {
  test("an empty config is TRL's default: dapo, no KL, group std + 1e-4", () => {
    const { loss, advantage } = optionsOf({});
    expect(loss).toMatchObject({
      form: "clip",
      level: "token",
      epsilon: 0.2,
      epsilonHigh: null,
      aggregation: "token-mean",
      beta: 0,
      mismatch: "none",
    });
    expect(advantage).toMatchObject({ scale: "std", scope: "group", ddof: 1, eps: 1e-4 });
    expect(fromTRL({}).settings).toEqual({});
  });

  test.each<[string, object]>([
    ["grpo", { form: "clip", aggregation: "seq-mean-token-mean", emptyRows: "count" }],
    ["bnpo", { form: "clip", aggregation: "token-mean" }],
    ["dr_grpo", { aggregation: "seq-mean-token-sum-norm", horizon: 512, emptyRows: "count" }],
    ["cispo", { form: "cispo", clipRange: [0, 0.2], aggregation: "token-mean" }],
    ["sapo", { form: "sapo", tauPositive: 1, tauNegative: 1.05 }],
    ["luspo", { form: "clip", aggregation: "seq-mean-token-sum" }],
    ["vespo", { form: "vespo", level: "sequence-product", kPositive: 2, lambdaNegative: 2 }],
  ])("loss_type %s", (loss_type, expected) => {
    expect(optionsOf({ loss_type, max_completion_length: 512 }).loss).toMatchObject(expected);
  });

  test("levels, clips, KL, masks and scales", () => {
    const { loss, advantage } = optionsOf({
      importance_sampling_level: "sequence",
      epsilon: 3e-4,
      epsilon_high: 4e-4,
      delta: 2,
      beta: 0.04,
      use_bias_correction_kl: true,
      off_policy_mask_threshold: 0.5,
      scale_rewards: "batch",
    });
    expect(loss).toMatchObject({
      level: "sequence",
      epsilon: 3e-4,
      epsilonHigh: 4e-4,
      delta: 2,
      beta: 0.04,
      klEstimator: "k3",
      klRatio: true,
      offPolicyThreshold: 0.5,
    });
    expect(advantage).toMatchObject({ scale: "std", scope: "batch" });
    expect(optionsOf({ scale_rewards: false }).advantage).toMatchObject({ scale: "none" });
  });

  test("the sampler's correction is on with vLLM, and only then", () => {
    const on = optionsOf({ use_vllm: true }).loss;
    expect(on).toMatchObject({ mismatch: "sequence-mask", mismatchLow: 0, mismatchHigh: 3 });
    const truncated = { use_vllm: true, vllm_importance_sampling_mode: "token_truncate" };
    expect(optionsOf(truncated).loss).toMatchObject({ mismatch: "token-truncate" });
    const off = { use_vllm: true, vllm_importance_sampling_correction: false };
    expect(optionsOf(off).loss).toMatchObject({ mismatch: "none" });
  });

  test("camelCase is understood, settings go to train, the recipe prints", () => {
    const { system, settings } = fromTRL({
      ...{ numGenerations: 4, learningRate: 1e-5, maxSteps: 9 },
      ...{ lr_scheduler_type: "cosine", warmup_ratio: 0.1, sync_ref_model: true },
    });
    expect(settings).toEqual({
      ...{ numGenerations: 4, learningRate: 1e-5, steps: 9 },
      ...{ lrSchedulerType: "cosine", warmupRatio: 0.1, syncRefModel: true },
    });
    expect(printSystem(system)).toContain("trl-dapo");
  });

  test("rewards have names here, truncated completions a block", () => {
    const config = { reward_weights: [1, 0.5], mask_truncated_completions: true };
    const { system } = fromTRL(config, { rewards: ["accuracy", "format"] });
    const blocks = systemBlocks(system);
    expect(blocks.map(({ block }) => block)).toContain("maskTruncated");
    const { rewardWeights } = optionsOf(config, { rewards: ["accuracy", "format"] }).reward!;
    expect(rewardWeights).toEqual({ accuracy: 1, format: 0.5 });
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "a field that TRL does not have",
      { epsilon_hi: 1 },
      /"epsilon_hi" \(did you mean "epsilon_high"\?\)/,
    ],
    [
      "a loss type that TRL does not have",
      { loss_type: "ppo" },
      /for loss_type but received "ppo"/,
    ],
    [
      "what has no counterpart",
      { top_entropy_quantile: 0.2 },
      /Expected 1 for top_entropy_quantile/,
    ],
    ["delta beside cispo", { loss_type: "cispo", delta: 2 }, /nothing for delta .* received 2/],
    [
      "another loss's option",
      { vespo_k_pos: 1 },
      /nothing for vespo_k_pos \(loss_type is not vespo\)/,
    ],
    ["a vLLM field without vLLM", { vllm_importance_sampling_clip_max: 2 }, /use_vllm is false/],
    ["a KL correction without a KL", { use_bias_correction_kl: true }, /beta is 0/],
    ["weights without names", { reward_weights: [1, 2] }, /Expected 2 names in rewards/],
    ["an unknown scale", { scale_rewards: "std" }, /for scale_rewards but received "std"/],
    ["a level of another kind", { importance_sampling_level: "word" }, /importance_sampling_level/],
    ["a number in words", { epsilon: "0.2" }, /surrogate\.epsilon but received "0\.2"/],
  ])("%s is refused", (_, config, message) => {
    expect(() => fromTRL(config)).toThrow(message);
    expect(() => fromTRL(config)).toThrow(FiresteelError);
  });
});
