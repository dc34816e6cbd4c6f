import { cut, offsetsOf, read } from "./read.mjs";

/** Cases of objectives that couple the rows of a group or of a pair. */
export function groupLosses(engine, { groupLoss, klHinge, rowScore }, { bestWorstPair }) {
  const evaluate = (inputs, options) => read(groupLoss(engine, inputs, options));

  async function regression({ rho, adv, eps = 1e-4, ddof = 0 }) {
    const inputs = { score: Float64Array.from(rho), advantage: adv, groupOffsets: [0, rho.length] };
    return evaluate(inputs, { kind: "reg-grpo", eps, ddof });
  }

  /** One pair; the reference's log-probs are taken off, as rowScore would. */
  function pair({ pc, pr, rc, rr, beta = 0.1, ipo = false, smooth = 0 }) {
    const score = Float64Array.of(pc - rc, pr - rr);
    const options = ipo ? { kind: "ipo" } : { kind: "dpo", labelSmoothing: smooth };
    return evaluate({ score, groupOffsets: [0, 2] }, { beta, ...options });
  }

  return {
    async real({ scores, rewards, tau = 0.5, variant = "real", num_questions = null }) {
      const kind = variant === "real" ? "real" : `real-${variant}`;
      const inputs = {
        score: Float64Array.from(scores.flat()),
        reward: rewards.flat(),
        groupOffsets: offsetsOf(scores),
      };
      const denominator = num_questions ?? undefined;
      const { loss, dScore } = await evaluate(inputs, { kind, tau, denominator });
      return { loss: loss[0], dscore: cut(dScore, scores) };
    },

    async real_score({ logp_new, logp_old, mask }) {
      const inputs = {
        logProb: logp_new,
        baseLogProb: logp_old,
        mask,
        rowOffsets: [0, mask.length],
      };
      return (await read(rowScore(engine, inputs, { pooling: "mean" }))).score[0];
    },

    async drpo({ groups, lmax, lam = 0.1, tau = 10, kl = 0, delta = 1e-4, beta = 1000 }) {
      const rows = groups.flat();
      const inputs = {
        reward: rows.map(([reward]) => reward),
        lengths: rows.map(([, length]) => length),
        score: Float64Array.from(rows, ([, , score]) => score),
        groupOffsets: offsetsOf(groups),
      };
      const options = { kind: "drpo", lambda: lam, tau, maxCompletionLength: lmax };
      const { loss, dScore } = await evaluate(inputs, options);
      const hinge = klHinge(kl, { beta, delta });
      return {
        grad: cut(dScore, groups),
        loss: loss[0],
        kl_coef: hinge.coefficient,
        kl_term: hinge.loss,
      };
    },

    async reggrpo_loss({ kl = null, beta = 0, ...args }) {
      const [loss] = (await regression(args)).loss;
      const mean = kl === null || kl.length === 0 ? 0 : kl.reduce((a, b) => a + b) / kl.length;
      return loss + beta * mean;
    },
    reggrpo_grad: async (args) => (await regression(args)).dScore,

    dpo: async (args) => (await pair(args)).loss[0],
    dpo_loss: async (args) => (await pair(args)).loss[0],
    dpo_pair: ({ scores, margin = 0 }) => bestWorstPair(scores, margin),
    dpo_grad: async (args) => (await pair(args)).dScore[0],
  };
}
