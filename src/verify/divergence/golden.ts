import { divergence, divergenceBackward } from "../../engine/kernels/divergence.js";
import type {
  DivergenceOptions,
  DivergenceTeacher,
} from "../../engine/kernels/divergenceOptions.js";
import { type Check, firstOf } from "../check.js";
import { close, ROUNDED_INPUTS, values } from "../compare.js";

// Values worked out from the definitions by hand or in 25 digits, without any of this project's code.

const ln = Math.log;
const never = Number.NEGATIVE_INFINITY;

interface DivergenceGolden {
  name: string;
  student: number[];
  /** Logits, or pairs of an id and its value. */
  teacher: number[] | [id: number, value: number][];
  options: DivergenceOptions;
  divergence: number;
  gradient: number[];
}

/** p = 1/4, 3/4 and q = 1/2, 1/2. */
const quarter = { student: [ln(1), ln(3)], teacher: [0, 0] };
/** p = 1/2, 1/4, 1/4; the teacher's log-probs of the first two: 1/4, 1/4, which leaves 1/2. */
const topTwo: Pick<DivergenceGolden, "student" | "teacher"> = {
  student: [ln(2), 0, 0],
  teacher: [
    [1, ln(0.25)],
    [0, ln(0.25)],
  ],
};

export const goldens: DivergenceGolden[] = [
  {
    // golden/cases.json, sdzero_token_kl: the third token is not among the teacher's.
    name: "SD-Zero's forward KL on the teacher's tokens",
    student: [ln(3), 0, 5],
    teacher: [
      [0, 0],
      [1, 0],
    ],
    options: { kind: "forward", support: "renormalized" },
    divergence: 0.14384103622589,
    gradient: [0.25, -0.25, 0],
  },
  {
    name: "forward KL (golden/cases.json, std_forward_kl)",
    ...quarter,
    options: { kind: "forward" },
    divergence: 0.14384103622589, // ln(4 / 3) / 2
    gradient: [-0.25, 0.25],
  },
  {
    name: "reverse KL (golden/cases.json, std_reverse_kl)",
    ...quarter,
    options: { kind: "reverse" },
    divergence: 0.130812035941137, // 3 ln(3) / 4 - ln(2)
    gradient: [-0.205989804125206, 0.205989804125206], // 3 ln(3) / 16
  },
  {
    name: "a quarter of the forward and three of the reverse KL",
    ...quarter,
    options: { kind: "mixed", weight: 0.25 },
    divergence: 0.134069286012325,
    gradient: [-0.216992353093904, 0.216992353093904],
  },
  {
    // m = 3/8, 5/8: (ln(4/3) + ln(4/5)) / 4 + (ln(2/3) + 3 ln(6/5)) / 8.
    name: "Jensen-Shannon",
    ...quarter,
    options: { kind: "jsd" },
    divergence: 0.033822075568605,
    gradient: [-0.055104999834574, 0.055104999834574], // 3 ln(9 / 5) / 32
  },
  {
    // m = 0.1 q + 0.9 p = 11/40, 29/40.
    name: "generalised Jensen-Shannon, weight 0.1",
    ...quarter,
    options: { kind: "jsd", weight: 0.1 },
    divergence: 0.0127524291412687,
    gradient: [-0.021804479687251, 0.021804479687251],
  },
  {
    name: "temperatures: student 2, teacher 1/2",
    student: [2 * ln(1), 2 * ln(3)],
    teacher: [0.5, 0.5],
    options: { kind: "forward", temperature: 2, teacherTemperature: 0.5 },
    divergence: 0.14384103622589,
    gradient: [-0.125, 0.125],
  },
  {
    // p = 1/2, 1/4, 1/4 and q = 1/4, 1/4, 1/2.
    name: "the other tokens as one outcome",
    ...topTwo,
    options: { kind: "forward", support: "tail" },
    divergence: 0.173286795139986, // ln(2) / 4
    gradient: [0.25, 0, -0.25],
  },
  {
    name: "without the other tokens",
    ...topTwo,
    options: { kind: "forward", support: "truncated" },
    divergence: -0.173286795139986,
    gradient: [0, -0.125, 0.125],
  },
  {
    name: "without the other tokens, but not below 0",
    ...topTwo,
    options: { kind: "forward", support: "truncated", nonNegative: true },
    divergence: 0,
    gradient: [0, 0, 0],
  },
  {
    // p = 1/2, 1/4, 1/4 and q = 1/2, 1/2, e^-100: sum = ln(1/2) / 4 + (ln(1/4) + 100) / 4.
    name: "a floor under the other tokens",
    ...topTwo,
    options: { kind: "reverse", support: "floor" },
    divergence: 24.48013961458,
    gradient: [-12.24006980729, -6.29332169878499, 18.533391506075],
  },
  {
    name: "a token that neither side can give",
    student: [0, never, 0],
    teacher: [0, never, ln(3)],
    options: { kind: "mixed" },
    divergence: 0.137326536083514, // the mean of both KLs of 1/2, 1/2 and 1/4, 3/4
    gradient: [0.262326536083514, 0, -0.262326536083514],
  },
  {
    name: "a teacher that is certain",
    student: [0, 0],
    teacher: [0, never],
    options: { kind: "forward" },
    divergence: Math.LN2,
    gradient: [-0.5, 0.5],
  },
  {
    // m = 3/4, 1/4: ln(4/3) / 2 + (ln(2/3) + ln(2)) / 4.
    name: "Jensen-Shannon with a teacher that is certain",
    student: [0, 0],
    teacher: [0, never],
    options: { kind: "jsd" },
    divergence: 0.215761554338835,
    gradient: [-0.137326536083514, 0.137326536083514], // ln(3) / 8
  },
  {
    name: "one token",
    student: [-7],
    teacher: [3],
    options: { kind: "mixed" },
    divergence: 0,
    gradient: [0],
  },
];

function isTop(teacher: DivergenceGolden["teacher"]): teacher is [number, number][] {
  return Array.isArray(teacher[0]);
}

export function divergenceGoldenChecks(): Check[] {
  return goldens.map((g) => ({
    family: "divergence",
    name: `by hand: ${g.name}`,
    run(engine) {
      const student = engine.tensor(g.student, [1, g.student.length]);
      const row = (numbers: number[]) => engine.tensor(numbers, [1, numbers.length]);
      const teacher: DivergenceTeacher = isTop(g.teacher)
        ? {
            topLogits: row(g.teacher.map(([, value]) => value)),
            topIds: Int32Array.from(g.teacher, ([id]) => id),
          }
        : { logits: row(g.teacher) };
      const got = divergence(engine, student, teacher, g.options);
      const dStudent = divergenceBackward(engine, {
        student,
        teacher,
        stats: got.stats,
        dDivergence: [1],
        ...g.options,
      });
      return firstOf(
        close("divergence", values(got.divergence), [g.divergence], ROUNDED_INPUTS),
        close("gradient", values(dStudent), g.gradient, ROUNDED_INPUTS * 4),
      );
    },
  }));
}
