import { divergence, divergenceBackward } from "../../engine/kernels/divergence.js";
import type { Tensor } from "../../engine/tensor.js";
import { divergence as reference } from "../../reference/divergence.js";
import { firstOf } from "../../verify/check.js";
import { close } from "../../verify/compare.js";
import type { DivergenceCase } from "../../verify/divergence/cases.js";
import { rowTolerance } from "../../verify/divergence/tolerance.js";
import { logitRows, Random, typed, widen } from "../../verify/inputs.js";
import { host } from "../inputs.js";
import type { BenchCase, KernelBench, Made } from "../kernel.js";

const vocab = 151_936;
const different = 4;
const setting = { kind: "forward", support: "full", weight: 0.5, temperature: 1 } as const;
const rest = { teacherTemperature: 1, logFloor: -100, nonNegative: false } as const;

interface State {
  tensors: Record<"student" | "teacher" | "dDivergence", Tensor>;
  /** For the backward call. */
  stats: Tensor | null;
}

export const divergenceBench: KernelBench<State> = {
  name: "divergence",
  about:
    "distillation: KL(teacher || student) over the whole vocabulary, and its gradient in place",
  work: {
    forward: { reads: "2*b*T*V", writes: "24*T", flops: "10*T*V" },
    "backward in place": {
      reads: "2*b*T*V + 24*T",
      writes: "b*T*V",
      flops: "8*T*V",
      inPlace: true,
    },
  },
  cases({ device }): BenchCase[] {
    const tokens = device === "cuda" ? 4096 : 64;
    const sizes = { T: tokens, V: vocab };
    return (["f32", "bf16"] as const).flatMap((dtype) =>
      ["forward", "backward in place"].map((variant) => {
        return { variant, dtype, shape: [tokens, vocab], sizes, cold: true };
      }),
    );
  },
  inputs(c) {
    const random = new Random(1);
    const student = logitRows(random, different, vocab);
    const teacher = student.map((z) => z + 1.5 * random.normal());
    const repeat = c.sizes.T! / different;
    const logits = (z: Float64Array) =>
      host(typed(z, c.dtype).data, c.dtype, [different, vocab], repeat);
    return {
      student: logits(student),
      teacher: logits(teacher),
      dDivergence: host(random.normals(different), "f32", [different], repeat),
    };
  },
  prepare(engine, tensors, c) {
    const { student, teacher } = tensors as State["tensors"];
    const options = { kind: "forward" } as const;
    const backward = c.variant !== "forward";
    const { stats } = backward
      ? divergence(engine, student, { logits: teacher }, options)
      : { stats: null };
    return { tensors: tensors as State["tensors"], stats };
  },
  run(engine, { tensors: { student, teacher, dDivergence }, stats }): Made {
    if (stats === null) {
      return { ...divergence(engine, student, { logits: teacher }, { kind: "forward" }) };
    }
    const args = { student, teacher: { logits: teacher }, stats, dDivergence, out: student };
    return { gradient: divergenceBackward(engine, { ...args, kind: "forward" }) };
  },
  compared: (c): Record<string, number> =>
    c.variant === "forward" ? { divergence: 1 } : { gradient: 1 },
  check(got, { student, teacher, dDivergence }, c) {
    const numbers = (data: ArrayLike<number>) => {
      const row = (data as Float32Array).slice(0, vocab);
      return { data: row, numbers: widen(row, c.dtype) };
    };
    const row: DivergenceCase = {
      studentDtype: c.dtype,
      teacherDtype: c.dtype,
      vocab,
      student: numbers(student!.data),
      teacher: numbers(teacher!.data),
      ids: null,
      topK: 0,
      mask: null,
      dDivergence: dDivergence!.data.slice(0, 1) as Float32Array,
      setting: { ...setting, ...rest },
    };
    const sides = { student: row.student.numbers, teacher: row.teacher.numbers, ids: null };
    const want = reference(sides, row.setting);
    const allowed = rowTolerance(row, 0, want);
    const gradient = want.gradient.map((x) => x * row.dDivergence[0]!);
    return firstOf(
      got.divergence
        ? close("divergence", got.divergence, [want.divergence], allowed.divergence)
        : null,
      got.gradient ? close("gradient", got.gradient, gradient, allowed.gradient) : null,
    );
  },
};
