import { read } from "./read.mjs";

/** Cases of divergences between a student and a teacher, at one position. */
export function divergences(engine, { divergence }) {
  const row = (values) => engine.tensor(Float32Array.from(values), [1, values.length]);
  const logits = (probabilities) => row(probabilities.map(Math.log));

  async function evaluate(student, teacher, options) {
    const result = engine.scope(() => divergence(engine, student(), teacher(), options));
    return (await read(result)).divergence[0];
  }

  return {
    sdzero_token_kl({ student_logits, topk_idx, teacher_topk_logits, kind = "mixed", w = 0.5 }) {
      const ids = () => engine.tensor(Int32Array.from(topk_idx), [1, topk_idx.length]);
      const teacher = () => ({ topLogits: row(teacher_topk_logits), topIds: ids() });
      const weight = kind === "mixed" ? w : undefined;
      return evaluate(() => row(student_logits), teacher, {
        kind,
        weight,
        support: "renormalized",
      });
    },

    std_forward_kl: ({ p_teacher, p_student }) =>
      evaluate(
        () => logits(p_student),
        () => ({ logits: logits(p_teacher) }),
        { kind: "forward" },
      ),

    std_reverse_kl: ({ p_student, p_teacher }) =>
      evaluate(
        () => logits(p_student),
        () => ({ logits: logits(p_teacher) }),
        { kind: "reverse" },
      ),
  };
}
