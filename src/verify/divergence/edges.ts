import type { Engine } from "../../engine/engine.js";
import { divergence as reference } from "../../reference/divergence.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { type Check, firstOf } from "../check.js";
import { close, values, zero } from "../compare.js";
import { faultsOf, Random } from "../inputs.js";
import { fill, put, sameRows } from "./bits.js";
import { call, combinations, type DivergenceCase, makeCase, rowOf, wanted } from "./cases.js";
import { rowTolerance } from "./tolerance.js";
import { checkDivergence } from "./values.js";

const family = "divergence";

type Choices = (typeof combinations)[number];
const label = ({ kind, support }: Choices) => `${kind} over ${support}`;
const never = Number.NEGATIVE_INFINITY;

function gradientCheck(choices: Choices, temperature: number): Check {
  return {
    family,
    name: `${label(choices)}: gradient against central differences, temperature ${temperature}`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 3, vocab: 11, topK: 4, temperature, weight: 0.3 });
      const got = values(call(engine, c).gradient);
      return firstOf(
        ...wanted(c).map((want, t) => {
          const row = rowOf(c, t);
          const objective = (student: Float64Array) =>
            reference({ ...row, student }, c.setting).divergence * c.dDivergence[t]!;
          const differences = finiteDifference(objective, row.student);
          const { gradient } = rowTolerance(c, t, want);
          // Differences of float64 values of up to 100 are good to 1e-7.
          return close(
            `gradient of row ${t}`,
            got.subarray(t * c.vocab, (t + 1) * c.vocab),
            differences,
            (v) => gradient(v) + 1e-7 / temperature,
          );
        }),
      );
    },
  };
}

/** A row that cannot be used: `value` and gradient 0, the others untouched, reported once a call. */
function faulty(
  name: string,
  choices: Choices,
  kind: "id-out-of-range" | "not-a-number" | "no-support",
  value: number,
  spoil: (c: DivergenceCase) => DivergenceCase,
): Check {
  return {
    family,
    name: `${label(choices)}: ${name}: ${value}, gradient 0, reported, no other row touched`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 4, vocab: 40, topK: 5 });
      const bad = spoil(c);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = call(own, bad);
        return firstOf(
          close("divergence", values(got.divergence.rows(2, 3)), [value], 0),
          zero("gradient", values(got.gradient.rows(2, 3))),
          sameRows(
            own,
            c,
            bad,
            [0, 1, 3].map((t) => [t, t] as const),
          ),
        );
      });
      if (finding !== null) return finding;
      const wrong = faults.find((f) => f.kind !== kind || f.count !== 1 || f.firstRow !== 2);
      if (faults.length > 0 && wrong === undefined) return null;
      return `reported ${JSON.stringify(faults)} instead of ${kind} in row 2`;
    },
  };
}

function faultChecks(choices: Choices): Check[] {
  const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
  const { kind, support } = choices;
  const top = support !== "full";
  const width = top ? 5 : 40;
  /** At one of the row's ids, where there are any: a student that is read at those alone sees it. */
  const column = (c: DivergenceCase) => c.ids?.[2 * c.topK + 3] ?? 17;
  const at = (x: number) => (c: DivergenceCase) => put(c, "student", [[2, column(c), x]]);
  const check = (
    name: string,
    fault: Parameters<typeof faulty>[2],
    spoil: (c: DivergenceCase) => DivergenceCase,
    value = nan,
  ) => faulty(name, choices, fault, value, spoil);
  const checks = [
    check("NaN in the student", "not-a-number", at(nan)),
    check("+inf in the student", "not-a-number", at(infinity)),
    check("NaN in the teacher", "not-a-number", (c) => put(c, "teacher", [[2, width - 1, nan]])),
    check("+inf in the teacher", "not-a-number", (c) => put(c, "teacher", [[2, 0, infinity]])),
    check("student all -inf", "no-support", (c) => fill(c, "student", 2, never)),
    check("teacher all -inf", "no-support", (c) => fill(c, "teacher", 2, never)),
  ];
  const ids =
    (change: (id: number, j: number, first: number) => number) => (c: DivergenceCase) => ({
      ...c,
      ids: c.ids!.map((id, i) => (Math.floor(i / 5) === 2 ? change(id, i % 5, c.ids![10]!) : id)),
    });
  if (top) {
    for (const wrong of [-1, 40, 2 ** 31 - 1]) {
      checks.push(
        check(
          `id ${wrong}`,
          "id-out-of-range",
          ids((id, j) => (j === 4 ? wrong : id)),
        ),
      );
    }
    const twice = ids((id, j, first) => (j === 4 ? first : id));
    checks.push(check("an id twice", "id-out-of-range", twice));
  }
  if (kind === "forward" || kind === "mixed") {
    checks.push(check("no student mass for the teacher's", "no-support", at(never), infinity));
  }
  if (kind === "reverse" || kind === "mixed") {
    const without = (c: DivergenceCase) => put(c, "teacher", [[2, 1, never]]);
    checks.push(check("no teacher mass for the student's", "no-support", without, infinity));
  }
  return checks;
}

/** -inf where neither side has mass; for the jsd also on one side alone. */
function holes(choices: Choices, vocab: number): Check {
  return {
    family,
    name: `${label(choices)}: -inf logits, V=${vocab}`,
    run(engine) {
      const c = makeCase({ ...choices, tokens: 4, vocab, seed: 9 });
      const random = new Random(10);
      const student: [number, number, number][] = [];
      const teacher: [number, number, number][] = [];
      for (let n = 0; n < 2 * vocab; ++n) {
        const [row, v] = [random.integer(4), random.integer(vocab)];
        const at = c.ids === null ? v : c.ids.subarray(row * c.topK, (row + 1) * c.topK).indexOf(v);
        if (c.ids !== null && at > 2) continue; // some of the k tokens keep their mass
        student.push([row, v, never]);
        if (at >= 0) teacher.push([row, at, never]);
      }
      if (choices.kind === "jsd") {
        student.push([0, c.ids?.[3] ?? 0, never]);
        teacher.push([1, 3, never]);
      }
      return checkDivergence(engine, put(put(c, "student", student), "teacher", teacher));
    },
  };
}

const nothingAbove: Check = {
  family,
  name: "rows with nothing from above have gradient exactly 0",
  run(engine) {
    return firstOf(
      ...combinations.slice(0, 6).map((choices) => {
        const c = makeCase({ ...choices, tokens: 3, vocab: 40 });
        c.dDivergence[1] = 0;
        const { gradient } = call(engine, c, true);
        const bits = gradient.rows(1, 2).readSync();
        return bits.every((x) => Object.is(x, 0)) ? null : `${label(choices)}: not +0 everywhere`;
      }),
    );
  },
};

const allMasked: Check = {
  family,
  name: "all masked: zeros, whatever stands there",
  run(engine) {
    return firstOf(
      ...combinations.slice(0, 6).map((choices) => {
        const c = fill(makeCase({ ...choices, tokens: 3, vocab: 40 }), "student", 1, Number.NaN);
        c.mask = new Uint8Array(3);
        const got = call(engine, c);
        return firstOf(
          zero("divergence", values(got.divergence)),
          zero("gradient", values(got.gradient)),
        );
      }),
    );
  },
};

/** The claim of divergence.h in a form that needs no bound: two digits of a divergence near 1e-8. */
const nearlyEqual: Check = {
  family,
  name: "a divergence near 1e-8 is right to two digits",
  run(engine) {
    return firstOf(
      ...combinations
        .filter(({ support }) => support !== "floor" && support !== "truncated")
        .map((choices) => {
          const c = makeCase({ ...choices, tokens: 4, vocab: 2000, topK: 40, apart: 1e-4 });
          const want = wanted(c).map((row) => row.divergence);
          if (want.some((x) => x > 3e-8)) return `${label(choices)}: the case is not nearly equal`;
          const got = values(call(engine, c).divergence);
          return close(label(choices), got, want, (t) => 0.01 * want[t]!);
        }),
    );
  },
};

/** With all tokens among the k there is nothing outside. */
const wholeVocabulary: Check = {
  family,
  name: "k = V gives what the full support gives",
  run(engine) {
    return firstOf(
      ...combinations
        .filter(({ support }) => support !== "full")
        .map(({ kind, support }) => {
          const c = makeCase({ kind, support, tokens: 2, vocab: 33, topK: 33 });
          const full = makeCase({ kind, support: "full", tokens: 2, vocab: 33 });
          full.dDivergence = c.dDivergence;
          const [got, want] = [call(engine, c), call(engine, full)];
          // The tail counts as at least 1e-7 on both sides, and log-probs are rounded to floats.
          const name = label({ kind, support });
          return firstOf(
            close(`${name}: divergence`, values(got.divergence), values(want.divergence), 5e-6),
            close(`${name}: gradient`, values(got.gradient), values(want.gradient), 5e-6),
          );
        }),
    );
  },
};

export function divergenceEdgeChecks(device: Engine["device"]): Check[] {
  const one = (kind: Choices["kind"], support: Choices["support"]) => ({ kind, support }) as const;
  const spoilt =
    device === "emulated"
      ? [one("mixed", "full"), one("mixed", "tail"), one("forward", "renormalized")]
      : combinations;
  return [
    ...combinations.map((choices, i) => gradientCheck(choices, [1, 0.5, 3][i % 3]!)),
    ...spoilt.flatMap(faultChecks),
    ...combinations.map((choices) => holes(choices, 31)),
    ...(device === "emulated" ? [] : combinations.map((choices) => holes(choices, 2100))),
    nothingAbove,
    allMasked,
    nearlyEqual,
    wholeVocabulary,
  ];
}
