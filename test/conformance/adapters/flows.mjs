import { cut, offsetsOf, read } from "./read.mjs";

/** Cases of flow steps: states are flat latents of one sample, or a scalar. */
export function flows(
  engine,
  {
    flowCoefficients,
    flowStep,
    flowTimes,
    gaussianKl,
    gaussianLogProb,
    surrogate,
    surrogateMetrics,
  },
  { clampColumn, conventions, groupAdvantages },
) {
  const one = (values) => engine.tensor(Float32Array.from(values), [1, values.length]);

  async function step({
    x,
    v,
    sigma,
    to,
    a,
    sigmaMax = null,
    noise = null,
    prev = null,
    kind = "sde",
  }) {
    const max = kind === "sde" ? (sigmaMax ?? undefined) : undefined;
    const result = await engine.scope(() => {
      const drawn = prev === null ? { noise: one(noise) } : { next: one(prev) };
      const inputs = { x: one(x), v: one(v), sigma, sigmaNext: to, ...drawn };
      return flowStep(engine, inputs, { kind, noiseLevel: a, sigmaMax: max });
    });
    const { mean, std, next, logProb } = await read(result);
    return { mean, std: std[0], next, logProb: logProb[0], scale: std[0] / Math.sqrt(sigma - to) };
  }

  /** exp(scale (log-ratio + bias)), as the surrogate takes it. */
  async function normalisedRatio(logRatio, scale, bias) {
    const inputs = {
      logProb: [logRatio],
      oldLogProb: [0],
      advantage: [0],
      ratioScale: [scale],
      ratioBias: [bias],
      rowOffsets: [0, 1],
    };
    const options = { form: "unclipped", aggregation: "token-sum" };
    const { metrics } = await read(surrogate(engine, inputs, options));
    return metrics[surrogateMetrics.indexOf("ratioSum")];
  }

  return {
    flow_noise_std({ sigmas, a = 0.7 }) {
      const schedule = { sigma: sigmas.slice(0, -1), sigmaNext: sigmas.slice(1) };
      return flowCoefficients(schedule, { kind: "sde", noiseLevel: a, sigmaMax: sigmas[1] }).std;
    },

    async tpgrpo_sde_step({ x, v, sigma, sigma_prev, sigma_max, noise_level, prev }) {
      const s = await step({
        x,
        v,
        sigma,
        to: sigma_prev,
        a: noise_level,
        sigmaMax: sigma_max,
        prev,
      });
      return [s.mean, s.std, s.logProb];
    },

    async flow_cps_step({ x, v, sigma, sigma_prev, noise_level, prev }) {
      const s = await step({ x, v, sigma, to: sigma_prev, a: noise_level, prev, kind: "cps" });
      return [s.mean, s.std, s.logProb];
    },

    async tempflow_sde_step({ x, v, sigma, sigma_prev, a, sigma_max = null, noise = 0 }) {
      const state = { x: [x], v: [v], sigma, to: sigma_prev, a, sigmaMax: sigma_max };
      const s = await step({ ...state, noise: [noise] });
      return [s.mean[0], s.std, s.next[0], s.logProb];
    },

    async guard_branch_sde_step({
      x,
      v,
      sigma,
      sigma_next,
      noise_level,
      sigma_max,
      prev = null,
      eps = null,
    }) {
      const state = { x, v, sigma, to: sigma_next, a: noise_level, sigmaMax: sigma_max };
      const s = await step({ ...state, prev, noise: eps });
      return [s.next, s.mean, s.scale, s.logProb];
    },

    async flow_grpo_sde_step({
      x,
      v,
      sigma,
      sigma_next,
      noise,
      a = 0.7,
      sigma_max = null,
      prev = null,
    }) {
      const s = await step({ x, v, sigma, to: sigma_next, a, sigmaMax: sigma_max, noise, prev });
      return [s.next, s.logProb, s.mean, s.scale];
    },

    async flow_kl({ mu, mu_ref, s }) {
      const tensors = engine.scope(() =>
        gaussianKl(engine, { mean: one(mu), refMean: one(mu_ref), std: s }),
      );
      return (await read(tensors)).kl[0];
    },

    flow_times: ({ steps, shift }) => [...flowTimes(steps, shift)],

    async flow_grpo_adv({ rewards, scope = "group", ...constants }) {
      const options = {
        ...conventions.flow_grpo.groupNormalize,
        ...constants,
        groupOffsets: offsetsOf(rewards),
        scope,
      };
      const { advantage } = await groupAdvantages(engine, rewards.flat(), options);
      const clamped = advantage.map((value) => clampColumn({ level: "row", value }, 5).value);
      return cut(clamped, rewards);
    },

    async flow_grpo_loss({ lp, old, adv, clip, mask = null }) {
      const inputs = {
        logProb: lp.flat(),
        oldLogProb: old.flat(),
        advantage: adv,
        mask: mask?.flat() ?? null,
        rowOffsets: offsetsOf(lp),
      };
      const options = { form: "clip", epsilon: clip, aggregation: "token-mean" };
      const { loss, dLogProb } = await read(surrogate(engine, inputs, options));
      return { loss: loss[0], grad: cut(dLogProb, lp) };
    },

    async grpoguard_ratio({ x_next, mu_new, mu_old, std_t, sqrt_dt }) {
      const std = std_t * sqrt_dt;
      const values = await Promise.all(
        engine
          .scope(() => {
            const value = one(x_next);
            return [
              gaussianLogProb(engine, { value, mean: one(mu_new), std }),
              gaussianLogProb(engine, { value, mean: one(mu_old), std }),
              gaussianKl(engine, { mean: one(mu_new), refMean: one(mu_old), std }),
            ];
          })
          .map(read),
      );
      const [current, old, bias] = values;
      return normalisedRatio(current.logProb[0] - old.logProb[0], std, bias.kl[0]);
    },
  };
}
