import type { Engine } from "../../engine/engine.js";
import { divergence, divergenceBackward } from "../../engine/kernels/divergence.js";
import type { DivergenceTeacher } from "../../engine/kernels/divergenceOptions.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { identical, sameBits, values, zero } from "../compare.js";
import { faultsOf, Random, typed, widen, withThreads } from "../inputs.js";
import { call, combinations, type DivergenceCase, makeCase, optionsOf, upload } from "./cases.js";

const family = "divergence";

type Choices = (typeof combinations)[number];

/** The same rows in another order, or some of them. */
export function pick(c: DivergenceCase, order: readonly number[]): DivergenceCase {
  const width = c.ids === null ? c.vocab : c.topK;
  const rows = (numbers: Float64Array, of: number) =>
    order.flatMap((row) => [...numbers.subarray(row * of, (row + 1) * of)]);
  return {
    ...c,
    student: typed(rows(c.student.numbers, c.vocab), c.studentDtype),
    teacher: typed(rows(c.teacher.numbers, width), c.teacherDtype),
    ids:
      c.ids === null
        ? null
        : Int32Array.from(
            order.flatMap((row) => [...c.ids!.subarray(row * width, (row + 1) * width)]),
          ),
    mask: c.mask === null ? null : Uint8Array.from(order, (row) => c.mask![row]!),
    dDivergence: Float32Array.from(order, (row) => c.dDivergence[row]!),
  };
}

/** A case with some values of a side replaced. */
export function put(
  c: DivergenceCase,
  side: "student" | "teacher",
  changes: readonly [row: number, at: number, value: number][],
): DivergenceCase {
  const width = side === "student" || c.ids === null ? c.vocab : c.topK;
  const numbers = Float64Array.from(c[side].numbers);
  for (const [row, at, value] of changes) numbers[row * width + at] = value;
  return { ...c, [side]: typed(numbers, side === "student" ? c.studentDtype : c.teacherDtype) };
}

/** A side's whole row replaced by one value. */
export function fill(
  c: DivergenceCase,
  side: "student" | "teacher",
  row: number,
  value: number,
): DivergenceCase {
  const width = side === "student" || c.ids === null ? c.vocab : c.topK;
  return put(
    c,
    side,
    Array.from({ length: width }, (_, at) => [row, at, value] as const),
  );
}

/** Results of some rows are the same bits as those of other rows in another call. */
export function sameRows(
  engine: Engine,
  a: DivergenceCase,
  b: DivergenceCase,
  pairs: readonly (readonly [number, number])[],
): string | null {
  const [x, y] = [call(engine, a), call(engine, b)];
  return firstOf(
    ...pairs.flatMap(([i, j]) => [
      identical(`divergence of row ${j}`, x.divergence.rows(i, i + 1), y.divergence.rows(j, j + 1)),
      identical(`gradient of row ${j}`, x.gradient.rows(i, i + 1), y.gradient.rows(j, j + 1)),
    ]),
  );
}

const label = ({ kind, support }: Choices) => `${kind} over ${support}`;

function permutation(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: rows in another order give the same bits`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 5, vocab: 300, masked: true, teacherDtype: "bf16" });
      const order = new Random(2).permutation(5);
      return sameRows(
        engine,
        c,
        pick(c, order),
        order.map((row, i) => [row, i] as const),
      );
    },
  };
}

function rowsOf(teacher: DivergenceTeacher, begin: number, end: number): DivergenceTeacher {
  const rows = (tensor: unknown) => (tensor as Tensor).rows(begin, end);
  return teacher.logits === undefined
    ? { topLogits: rows(teacher.topLogits), topIds: rows(teacher.topIds) }
    : { logits: rows(teacher.logits) };
}

function split(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: views of some rows give the same bits`,
    run(engine) {
      // 31 columns: views start at addresses that are no multiple of a vector.
      const c = makeCase({ ...choices, tokens: 6, vocab: 31, studentDtype: "f16" });
      const whole = call(engine, c);
      const { student, teacher } = upload(engine, c);
      const options = optionsOf(c);
      return firstOf(
        ...[0, 1, 6].slice(1).map((end, i) => {
          const begin = [0, 1][i]!;
          const some = student.rows(begin, end);
          const part = rowsOf(teacher, begin, end);
          const got = divergence(engine, some, part, options);
          const gradient = divergenceBackward(engine, {
            student: some,
            teacher: part,
            stats: got.stats,
            dDivergence: c.dDivergence.slice(begin, end),
            ...options,
          });
          return firstOf(
            identical(`rows ${begin}..${end}`, got.divergence, whole.divergence.rows(begin, end)),
            identical(`gradient of ${begin}..${end}`, gradient, whole.gradient.rows(begin, end)),
          );
        }),
      );
    },
  };
}

function inPlace(choices: Choices, studentDtype: "f32" | "bf16" | "f16"): Check {
  return {
    family,
    name: `${label(choices)}: backward in place gives the same bits, ${studentDtype}`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 3, vocab: 1003, masked: true, studentDtype });
      return identical("gradient", call(engine, c, true).gradient, call(engine, c).gradient);
    },
  };
}

function underMask(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: what stands under the mask changes no bit`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 5, vocab: 100 });
      c.mask = Uint8Array.from([1, 0, 1, 1, 0]);
      const dirty = put(
        fill(fill(c, "student", 1, Number.NaN), "teacher", 4, Number.NaN),
        "student",
        [[4, 7, Number.POSITIVE_INFINITY]],
      );
      dirty.ids = c.ids?.map((id, i) => (i < c.topK ? id : i < 2 * c.topK ? -id - 1 : id)) ?? null;
      dirty.dDivergence = c.dDivergence.map((d, t) => (c.mask![t] === 0 ? Number.NaN : d));
      const { finding, faults } = faultsOf(engine, (own) =>
        firstOf(
          sameRows(
            own,
            c,
            dirty,
            [0, 1, 2, 3, 4].map((t) => [t, t] as const),
          ),
          zero("masked divergence", values(call(own, dirty).divergence.rows(1, 2))),
          zero("masked gradient", values(call(own, dirty, true).gradient.rows(4, 5))),
        ),
      );
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

function threads(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: one and two threads give the same bits`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 40, vocab: 997, masked: true, topK: 3 });
      const [one, two] = withThreads(engine, (own) => {
        const got = call(own, c);
        return [got.divergence.readSync(), got.gradient.readSync()];
      });
      return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
    },
  };
}

function shifted(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: a constant added to either side's logits changes no bit`,
    run(engine) {
      // Multiples of 1/64 below 64 plus multiples of 64 are exact.
      const c = makeCase({ ...choices, tokens: 3, vocab: 300 });
      const grid = (numbers: Float64Array, shift: number) =>
        typed(
          numbers.map((x) => Math.round(x * 64) / 64 + shift),
          "f32",
        );
      const [still, moved] = [0, 1].map((times) => ({
        ...c,
        student: grid(c.student.numbers, 1024 * times),
        teacher: grid(c.teacher.numbers, -512 * times),
      }));
      return sameRows(
        engine,
        still!,
        moved!,
        [0, 1, 2].map((t) => [t, t] as const),
      );
    },
  };
}

function equalSides(choices: Choices): Check {
  return {
    family,
    name: `${label(choices)}: equal sides give exactly 0, and gradient 0`,
    run(engine) {
      const options = { tokens: 3, vocab: 300, apart: 0, temperature: 0.6 };
      const c = makeCase({ ...choices, ...options, studentDtype: "bf16", teacherDtype: "bf16" });
      const { divergence: got, gradient } = call(engine, c);
      return firstOf(
        zero("divergence", values(got)),
        zero("gradient", widen(gradient.readSync(), "bf16")),
      );
    },
  };
}

/** What must not change a bit: the order of rows, views, masked values, places, threads, constants. */
export function divergenceBitChecks(device: Engine["device"]): Check[] {
  const some = combinations.filter(
    ({ kind, support }) => kind === "mixed" || (kind === "jsd") !== (support === "full"),
  );
  const all = device === "emulated" ? some : combinations;
  return [
    ...all.flatMap((choices) => [permutation(choices), underMask(choices)]),
    ...some.map(split),
    ...some.flatMap((choices, i) => inPlace(choices, (["f32", "bf16", "f16"] as const)[i % 3]!)),
    ...(device === "emulated" ? [] : all.map(threads)),
    ...all.filter(({ support }) => support === "full" || support === "renormalized").map(shifted),
    ...all.filter(({ support }) => support === "full").map(equalSides),
  ];
}
