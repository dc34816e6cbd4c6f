// Golden cases by name: each adapter renames and reshapes its arguments and calls what users call.

/**
 * @param engine an Engine on any device
 * @param firesteel the package's own exports
 * @param blocks the exports of firesteel/blocks
 * @returns by name of the case: (args) => result, or a promise of it
 */
export function makeAdapters(engine, { surrogate }, { compensate, groupAdvantages, pivotIndex }) {
  /** One call of the surrogate kernel, read back. */
  async function evaluate(inputs, options) {
    const result = surrogate(engine, inputs, options);
    const [loss, dLogProb] = await Promise.all([result.loss.read(), result.dLogProb.read()]);
    for (const tensor of Object.values(result)) tensor?.dispose();
    return { loss: loss[0], gradient: dLogProb[0] };
  }

  function ppo({ logp, old, adv, eps_low = 0.2, eps_high = 0.2, dual_c = null, delta = null }) {
    return evaluate(
      { logProb: [logp], oldLogProb: [old], advantage: [adv], rowOffsets: [0, 1] },
      {
        epsilon: eps_low,
        epsilonHigh: eps_high,
        dualClip: dual_c ?? undefined,
        delta: delta ?? undefined,
        aggregation: "token-sum",
      },
    );
  }

  function kl({ logp, ref, kind }) {
    return evaluate(
      {
        logProb: [logp],
        oldLogProb: [logp],
        refLogProb: [ref],
        advantage: [0],
        rowOffsets: [0, 1],
      },
      { beta: 1, klEstimator: kind, aggregation: "token-sum" },
    );
  }

  return {
    async grpo_adv({ rewards, ddof = 1, eps = 1e-6, scale = "group" }) {
      const scaling = scale === "none" ? { scale: "none" } : { scale: "std", scope: scale, ddof };
      const groupOffsets = [0, rewards.length];
      const options = { groupOffsets, eps, singleton: "value", ...scaling };
      return (await groupAdvantages(engine, rewards, options)).advantage;
    },

    ppo_token: async (args) => (await ppo(args)).loss,
    ppo_token_grad: async (args) => (await ppo(args)).gradient,
    kl: async (args) => (await kl(args)).loss,
    kl_grad: async (args) => (await kl(args)).gradient,

    async aggregate({ losses, masks, mode, horizon = null }) {
      const padded = horizon ?? Math.max(1, ...losses.map((row) => row.length));
      const options =
        mode === "drgrpo"
          ? { aggregation: "token-sum", denominator: Math.max(losses.length, 1) * padded }
          : { aggregation: mode };
      if (mode === "seq-mean-token-sum-norm") options.horizon = padded;
      const rowOffsets = [0];
      for (const row of losses) rowOffsets.push(rowOffsets.at(-1) + row.length);
      // Under equal policies a token's loss is minus its advantage.
      const tokens = losses.flat();
      const equal = tokens.map(() => 0);
      const { loss } = await evaluate(
        {
          logProb: equal,
          oldLogProb: equal,
          tokenAdvantage: tokens.map((x) => -x),
          mask: masks.flat(),
          rowOffsets,
        },
        options,
      );
      return loss;
    },

    async mcgrpo({ rewards, eps = 0.001, scale = "mad", compensate: whether = false }) {
      const { advantage } = await groupAdvantages(engine, rewards, {
        groupOffsets: [0, rewards.length],
        center: "median",
        scale: scale === "none" ? "none" : "median-deviation",
        eps,
      });
      const full = whether ? compensate(advantage) : advantage;
      const pivot = pivotIndex(rewards);
      return { adv: full.filter((_, i) => i !== pivot), pivot, full };
    },
  };
}
