import type { Advantage } from "../../contract/system.js";
import { invalid } from "../../engine/checks.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows, withColumn } from "../columns.js";

/**
 * On-policy distillation as a policy gradient: A_t = log p_teacher(y_t) - log p_student(y_t), held
 * constant, whose expected gradient is that of the reverse KL (Lu et al. 2025; Gu et al. 2024).
 *
 * @throws FiresteelError ERR_SHAPE
 */
export function teacherAdvantages(
  studentLogProb: ArrayLike<number>,
  teacherLogProb: ArrayLike<number>,
): number[] {
  if (teacherLogProb.length !== studentLogProb.length) {
    const expected = `${studentLogProb.length} values, as in studentLogProb,`;
    throw invalid("ERR_SHAPE", "teacherLogProb", expected, teacherLogProb.length);
  }
  return Array.from(studentLogProb, (student, t) => teacherLogProb[t]! - student);
}

/** One advantage per action: the teacher's log-prob minus the policy's. The system names a model "teacher". */
export function teacherAdvantage(options: Record<string, never> = {}): Advantage {
  const { described } = parseOptions("teacherAdvantage", {}, options);
  return {
    block: "teacherAdvantage",
    options: described,
    async run(groups, ctx) {
      const rows = groups.flatMap((group) => group.trajectories);
      const [student, teacher] = await Promise.all([
        ctx.score(rows),
        ctx.score(rows, { model: "teacher" }),
      ]);
      return mapRows(groups, (t, row) => {
        const [own, other] = [student[row]!, teacher[row]!];
        if (own.level !== "action" || other.level !== "action") {
          throw invalid("ERR_SHAPE", "scores", "one log-prob per action", own.level);
        }
        const values = Float32Array.from(teacherAdvantages(own.values, other.values));
        return withColumn(t, "advantage", { level: "action", values });
      });
    },
  };
}
