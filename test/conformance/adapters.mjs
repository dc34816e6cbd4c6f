// Golden cases by name: each adapter renames and reshapes its arguments and calls what users call.

/**
 * @param engine an Engine on any device
 * @param firesteel the package's own exports
 * @param blocks the exports of firesteel/blocks
 * @returns by name of the case: (args) => result, or a promise of it
 */
export function makeAdapters(
  engine,
  { flowCoefficients, flowStep, gaussianKl, surrogate },
  { compensate, groupAdvantages, pivotIndex },
) {
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

  /** One step of one sample, read back, with its diffusion. */
  async function flow({ x, v, sigma, next, prev, noise }, options) {
    const row = (values) => engine.tensor(values, [1, values.length]);
    const schedule = { sigma, sigmaNext: next };
    const drawn = prev === undefined ? { noise: row(noise) } : { next: row(prev) };
    const step = flowStep(engine, { x: row(x), v: row(v), ...schedule, ...drawn }, options);
    const read = async (name) => [...(await step[name].read())];
    const [mean, sample] = [await read("mean"), await read("next")];
    const [[std], [logProb]] = [await read("std"), await read("logProb")];
    for (const tensor of Object.values(step)) tensor.dispose();
    return {
      mean,
      sample,
      std,
      logProb,
      diffusion: flowCoefficients(schedule, options).diffusion[0],
    };
  }

  return {
    async grpo_adv({ rewards, ddof = 1, eps = 1e-6, scale = "group" }) {
      const scaling = scale === "none" ? { scale } : { scale: "std", scope: scale, ddof, eps };
      const groupOffsets = [0, rewards.length];
      const options = { groupOffsets, singleton: "value", ...scaling };
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
        ...(scale === "none" ? { scale } : { scale: "median-deviation", eps }),
      });
      const full = whether ? compensate(advantage) : advantage;
      const pivot = pivotIndex(rewards);
      return { adv: full.filter((_, i) => i !== pivot), pivot, full };
    },

    async tpgrpo_sde_step({ x, v, sigma, sigma_prev, sigma_max, noise_level, prev }) {
      const options = { kind: "sde", noiseLevel: noise_level, sigmaMax: sigma_max };
      const step = await flow({ x, v, sigma, next: sigma_prev, prev }, options);
      return [step.mean, step.std, step.logProb];
    },
    async tempflow_sde_step({ x, v, sigma, sigma_prev, a, sigma_max, noise = 0 }) {
      const options = { kind: "sde", noiseLevel: a, sigmaMax: sigma_max ?? undefined };
      const inputs = { x: [x], v: [v], sigma, next: sigma_prev, noise: [noise] };
      const step = await flow(inputs, options);
      return [step.mean[0], step.std, step.sample[0], step.logProb];
    },
    async flow_grpo_sde_step({ x, v, sigma, sigma_next, noise, a = 0.7, sigma_max, prev }) {
      const options = { kind: "sde", noiseLevel: a, sigmaMax: sigma_max ?? undefined };
      const inputs = { x, v, sigma, next: sigma_next, noise, prev: prev ?? undefined };
      const step = await flow(inputs, options);
      return [step.sample, step.logProb, step.mean, step.diffusion];
    },
    async flow_cps_step({ x, v, sigma, sigma_prev, noise_level, prev }) {
      const options = { kind: "cps", noiseLevel: noise_level };
      const step = await flow({ x, v, sigma, next: sigma_prev, prev }, options);
      return [step.mean, step.std, step.logProb];
    },
    async flow_kl({ mu, mu_ref, s }) {
      const row = (values) => engine.tensor(values, [1, values.length]);
      const { kl } = gaussianKl(engine, { mean: row(mu), refMean: row(mu_ref), std: s });
      return (await kl.read())[0];
    },
    flow_noise_std({ sigmas, a = 0.7 }) {
      const schedule = { sigma: sigmas.slice(0, -1), sigmaNext: sigmas.slice(1) };
      return flowCoefficients(schedule, { kind: "sde", noiseLevel: a, sigmaMax: sigmas[1] }).std;
    },
  };
}
