import type { Column } from "../../contract/data.js";
import type { Advantage } from "../../contract/system.js";
import { checkArguments, numbers } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows, perAction, withColumn } from "../columns.js";

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
  checkArguments(
    { studentLogProb, teacherLogProb },
    { studentLogProb: numbers, teacherLogProb: numbers },
  );
  if (teacherLogProb.length !== studentLogProb.length) {
    const expected = `${studentLogProb.length} values, as in studentLogProb,`;
    throw invalid("ERR_SHAPE", "teacherLogProb", expected, teacherLogProb.length);
  }
  return Array.from(studentLogProb, (student, t) => teacherLogProb[t]! - student);
}

/**
 * One advantage per action: the log-prob of the model "teacher", which the system names, minus the policy's.
 * Reports their mean with the sign turned, which estimates the reverse KL, as `teacher/kl`.
 */
export function teacherAdvantage(options: Record<string, never> = {}): Advantage {
  const { described } = parseOptions("teacherAdvantage", {}, options);
  return {
    block: "teacherAdvantage",
    options: described,
    models: ["teacher"],
    async run(groups, ctx) {
      const rows = groups.flatMap((group) => group.trajectories);
      const [student, teacher] = await Promise.all([
        ctx.score(rows),
        ctx.score(rows, { model: "teacher" }),
      ]);
      const of = (name: string, columns: readonly Column[], row: number) =>
        perAction(name, columns[row]!, rows[row]!.actions.length);
      const advantages = rows.map((_, row) =>
        teacherAdvantages(of("logProb", student, row), of("teacher", teacher, row)),
      );
      const trained = advantages.flatMap((row, r) => row.filter((_, t) => rows[r]!.mask[t] !== 0));
      const sum = trained.reduce((total, advantage) => total - advantage, 0);
      ctx.measure("teacher/kl", { kind: "mean", sum, count: trained.length });
      return mapRows(groups, (t, row) =>
        withColumn(t, "advantage", {
          level: "action",
          values: Float32Array.from(advantages[row]!),
        }),
      );
    },
  };
}
