import { cut, offsetsOf } from "./read.mjs";

/** Cases of statistics over rewards and of returns. */
export function advantages(engine, _, blocks) {
  const { groupAdvantages } = blocks;
  const one = (rewards) => [0, rewards.length];

  return {
    async grpo_adv({ rewards, ddof = 1, eps = 1e-6, scale = "group" }) {
      const scaling =
        scale === "none" ? { scale: "none" } : { scale: "std", scope: scale, ddof, eps };
      const options = { groupOffsets: one(rewards), singleton: "value", ...scaling };
      return (await groupAdvantages(engine, rewards, options)).advantage;
    },

    async grpo_adv_batchstd({ groups, ddof = 1, eps = 1e-4 }) {
      const options = { groupOffsets: offsetsOf(groups), scale: "std", scope: "batch", ddof, eps };
      return cut((await groupAdvantages(engine, groups.flat(), options)).advantage, groups);
    },

    async rloo_adv({ rewards }) {
      const options = { groupOffsets: one(rewards), center: "leave-one-out", scale: "none" };
      return (await groupAdvantages(engine, rewards, options)).advantage;
    },

    async masked_whiten({ rows, masks, ddof = 1, eps = 1e-8 }) {
      return (await blocks.whitened(engine, rows, masks, { ddof, eps })).map((row) => [...row]);
    },

    reinforce_pp_returns: ({ token_rewards, mask, gamma = 1 }) =>
      blocks.discountedReturns(token_rewards, mask, gamma),

    gae({ rewards, values, mask, gamma = 1, lam = 0.95 }) {
      const options = { gamma, lambda: lam };
      const { advantages, returns } = blocks.generalizedAdvantages(rewards, values, mask, options);
      return [advantages, returns];
    },

    dapo_overlong: ({ length, max_len, buffer, factor = 1 }) =>
      blocks.softOverlong(length, { maxLength: max_len, buffer, factor }),

    dapo_keep: ({ rewards }) => !blocks.isConstant(rewards),

    opd_token_adv: ({ student_logp, teacher_logp }) =>
      blocks.teacherAdvantages(student_logp, teacher_logp),

    async mcgrpo({ rewards, eps = 0.001, scale = "mad", compensate = false }) {
      const scaling = scale === "none" ? { scale: "none" } : { scale: "median-deviation", eps };
      const options = { groupOffsets: one(rewards), center: "median", ...scaling };
      const { advantage } = await groupAdvantages(engine, rewards, options);
      const full = compensate ? blocks.compensate(advantage) : advantage;
      const pivot = blocks.pivotIndex(rewards);
      return { adv: full.filter((_, i) => i !== pivot), pivot, full };
    },
  };
}
