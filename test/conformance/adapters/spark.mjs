/** Cases of SPARK's selection of prompts, its queue and its test-time reflection. */
export function spark(_engine, firesteel, blocks) {
  const played = (tape) => {
    let at = 0;
    return () => tape[at++];
  };

  return {
    spark_extract_boxed: ({ text }) => firesteel.firstBoxed(text),

    spark_judge_item({
      rewards,
      answers,
      tape,
      p_single = 0.3,
      n_tpl_single = 24,
      n_tpl_pair = 20,
    }) {
      const options = {
        pSingle: p_single,
        pointwiseTemplates: n_tpl_single,
        pairwiseTemplates: n_tpl_pair,
      };
      const item = blocks.judgeItem({ rewards, answers }, options, played(tape));
      if (item === null) return null;
      const { template } = item;
      if (item.kind === "pointwise") {
        return { kind: "point", idx: item.rollout, template, label_correct: item.right };
      }
      const { right: pos, wrong: neg, rightIsA: pos_is_a } = item;
      return { kind: "pair", pos, neg, pos_is_a, template, label: pos_is_a ? "A" : "B" };
    },

    spark_reflection_index({ prompt_pos, n_prompts, rewards, answers, u }) {
      const item = blocks.reflectionItem({ rewards, answers }, prompt_pos, n_prompts, () => u);
      const mode = item?.kind === "reflectTrace" ? "cot" : "ans";
      return item === null ? null : { mode, idx: item.rollout };
    },

    spark_cache_step({ n_judge, n_reflect, cache_len, cap = 32, batch = 64 }) {
      const capped = (n) => blocks.subsample(new Array(n).fill(0), cap, () => 0).length;
      const added = capped(n_judge) + capped(n_reflect);
      const taken = blocks.takeBatch(new Array(cache_len + added).fill(0), batch);
      return [added, taken.batch.length > 0, taken.rest.length];
    },

    spark_tts({ verdicts, max_round = 2 }) {
      const { answer, calls } = blocks.reflectionCourse(verdicts, max_round);
      return [answer, calls];
    },
  };
}
