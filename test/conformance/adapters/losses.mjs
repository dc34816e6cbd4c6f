import { offsetsOf, read } from "./read.mjs";

/** Cases of token and sequence losses, one row at a time, through the surrogate kernel. */
export function losses(engine, { klEstimate, surrogate, surrogateMetrics }, { clippedValueLoss }) {
  /** One row: loss, gradient, and metrics by name. */
  async function row(inputs, options) {
    const rowOffsets = inputs.rowOffsets ?? [0, inputs.logProb.length];
    const all = { aggregation: "seq-mean-token-mean", ...options };
    const values = await read(surrogate(engine, { rowOffsets, ...inputs }, all));
    const metrics = Object.fromEntries(
      surrogateMetrics.map((name, i) => [name, values.metrics[i]]),
    );
    return { ...values, loss: values.loss[0], gradient: values.dLogProb, metrics };
  }
  const token = ({ logp, old, adv }) => ({ logProb: [logp], oldLogProb: [old], advantage: [adv] });
  const sequence = ({ logp, old, mask, adv }) => ({
    logProb: logp,
    oldLogProb: old,
    mask,
    advantage: [adv],
  });

  function ppo({ eps_low = 0.2, eps_high = 0.2, dual_c = null, delta = null, ...args }) {
    const [dualClip, cap] = [dual_c ?? undefined, delta ?? undefined];
    return row(token(args), { epsilon: eps_low, epsilonHigh: eps_high, dualClip, delta: cap });
  }
  function gspo({ eps_low = 0.0003, eps_high = 0.0004, ...args }, level) {
    return row(sequence(args), { level, epsilon: eps_low, epsilonHigh: eps_high });
  }
  function sapo({ tau_pos = 1, tau_neg = 1.05, ...args }) {
    return row(token(args), { form: "sapo", tauPositive: tau_pos, tauNegative: tau_neg });
  }
  function kl({ logp, ref, kind }) {
    const inputs = { ...token({ logp, old: logp, adv: 0 }), refLogProb: [ref] };
    return row(inputs, { beta: 1, klEstimator: kind });
  }
  const mismatches = {
    "token truncate": "token-truncate",
    "token mask": "token-mask",
    "sequence truncate": "sequence-truncate",
    "sequence mask": "sequence-mask",
    "token seqgeo_mask": "geometric-mask",
    "sequence seqgeo_mask": "geometric-mask",
  };

  return {
    ppo_token: async (args) => (await ppo(args)).loss,
    ppo_token_grad: async (args) => (await ppo(args)).gradient[0],
    gspo_seq: async (args) => (await gspo(args, "sequence")).loss,
    gspo_token_grad: async (args) => (await gspo(args, "sequence-token")).gradient,

    async cispo_token({ eps_low = null, eps_high = 4, upper_is_absolute = false, ...args }) {
      const clipRange = [
        Math.max(0, 1 - (eps_low ?? 1)),
        upper_is_absolute ? eps_high : 1 + eps_high,
      ];
      return (await row(token(args), { form: "cispo", clipRange })).loss;
    },

    sapo_token: async (args) => (await sapo(args)).loss,
    sapo_token_grad: async (args) => (await sapo(args)).gradient[0],

    async gmpo_seq({ eps_low = 0.4, eps_high = 0.4, ...args }) {
      const limits = { epsilon: eps_low, epsilonHigh: eps_high };
      return (await row(sequence(args), { form: "gmpo", level: "sequence", ...limits })).loss;
    },

    async kl({ logp, ref, kind }) {
      const inputs = { logProb: [logp], refLogProb: [ref], rowOffsets: [0, 1] };
      const estimator = kind.replace("+", ""); // differ in their gradients only
      return (await read(klEstimate(engine, inputs, { estimator }))).kl[0];
    },
    kl_grad: async (args) => (await kl(args)).gradient[0],

    async tis({
      logp_train_old,
      logp_rollout,
      mask,
      level = "token",
      mode = "truncate",
      lo = null,
      hi = 2,
    }) {
      const old = sequence({ logp: logp_train_old, old: logp_train_old, mask, adv: 0 });
      const mismatch = mismatches[`${level} ${mode}`];
      const bounds = { mismatchLow: lo ?? 0, mismatchHigh: hi ?? Number.MAX_VALUE };
      const inputs = { ...old, samplerLogProb: logp_rollout };
      return (await row(inputs, { mismatch, ...bounds })).mismatchWeight;
    },

    async opsm({ adv, logp, sampling_logp, mask, delta }) {
      const inputs = { ...sequence({ logp, old: logp, mask, adv }), samplerLogProb: sampling_logp };
      return 1 - (await row(inputs, { offPolicyThreshold: delta })).metrics.droppedRows;
    },

    async aggregate({ losses, masks, mode, horizon = null }) {
      const padded = horizon ?? Math.max(1, ...losses.map((row) => row.length));
      const normed = { aggregation: "seq-mean-token-sum-norm", horizon: padded };
      const options = {
        "seq-mean-token-sum-norm": normed,
        drgrpo: { ...normed, emptyRows: "count" },
      }[mode] ?? { aggregation: mode };
      // Under equal policies a token's loss is minus its advantage.
      const tokens = losses.flat();
      const equal = tokens.map(() => 0);
      const inputs = { logProb: equal, oldLogProb: equal, tokenAdvantage: tokens.map((x) => -x) };
      const rows = { mask: masks.flat(), rowOffsets: offsetsOf(losses) };
      return (await row({ ...inputs, ...rows }, options)).loss;
    },

    value_loss: ({ v, v_old, ret, eps = 0.2 }) => clippedValueLoss(v, v_old, ret, eps).loss,

    async rationorm({ logp, logp_old, mean_sq_diff, sqrt_dt, sigma }) {
      const scale = sqrt_dt * sigma;
      const inputs = {
        ...token({ logp, old: logp_old, adv: 0 }),
        ratioScale: [scale],
        ratioBias: [mean_sq_diff / (2 * scale ** 2)],
      };
      return (await row(inputs, { form: "unclipped" })).metrics.ratioSum;
    },

    async grpoguard_loss({ ratio, adv, clip, sqrt_dt, adv_clip = 5 }) {
      const advantage = Math.max(-adv_clip, Math.min(adv_clip, adv));
      const inputs = token({ logp: Math.log(ratio), old: 0, adv: advantage });
      return (await row({ ...inputs, weight: [1 / sqrt_dt ** 2] }, { epsilon: clip })).loss;
    },
  };
}
