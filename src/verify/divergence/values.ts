import type { Engine } from "../../engine/engine.js";
import type { DivergenceKind, DivergenceSupport } from "../../engine/kernels/divergenceTable.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { type Float, widen } from "../inputs.js";
import {
  type CaseOptions,
  call,
  combinations,
  type DivergenceCase,
  makeCase,
  wanted,
} from "./cases.js";
import { rowTolerance } from "./tolerance.js";

const family = "divergence";

/** Forward and backward against float64, within the contract of divergence.h. */
export function checkDivergence(engine: Engine, c: DivergenceCase, inPlace = false): string | null {
  const got = call(engine, c, inPlace);
  const gradient = widen(got.gradient.readSync(), c.studentDtype);
  const want = wanted(c);
  const allowed = want.map((row, t) => rowTolerance(c, t, row));
  const divergences = want.map((row) => row.divergence);
  return firstOf(
    close("divergence", values(got.divergence), divergences, (t) => allowed[t]!.divergence),
    ...want.map((row, t) =>
      close(
        `gradient of row ${t}`,
        gradient.subarray(t * c.vocab, (t + 1) * c.vocab),
        row.gradient.map((x) => x * c.dDivergence[t]!),
        allowed[t]!.gradient,
      ),
    ),
  );
}

const floats = ["f32", "bf16", "f16"] as const satisfies Float[];
const pairs = floats.flatMap((student) => floats.map((teacher) => [student, teacher] as const));

function label(options: CaseOptions): string {
  const { kind, support, studentDtype = "f32", teacherDtype = "f32", vocab } = options;
  return `${kind} over ${support}, ${studentDtype} and ${teacherDtype}, V=${vocab}`;
}

function valueCheck(options: CaseOptions, extra = "", inPlace = false): Check {
  return {
    family,
    name: `${label(options)}${extra}`,
    run: (engine) => checkDivergence(engine, makeCase(options), inPlace),
  };
}

/** Every kind, support and pair of dtypes; on the emulator every kind and support, and every pair. */
function legalChecks(device: Engine["device"]): Check[] {
  const emulated = device === "emulated";
  const of = (
    choices: { kind: DivergenceKind; support: DivergenceSupport },
    [studentDtype, teacherDtype]: readonly [Float, Float],
    seed: number,
  ) => {
    const base = { ...choices, studentDtype, teacherDtype, seed };
    const other = { temperature: 0.7, masked: true, weight: 0.3 };
    const small = valueCheck({ ...base, tokens: 3, vocab: emulated ? 261 : 1000, ...other });
    return emulated
      ? [small]
      : [small, valueCheck({ ...base, tokens: 2, vocab: 31 }, ", in place", true)];
  };
  return combinations.flatMap((choices, i) =>
    pairs
      .filter((_, n) => !emulated || (choices.kind === "mixed" ? i % 2 === n % 2 : n === i % 9))
      .flatMap((pair, n) => of(choices, pair, 10 * i + n + 1)),
  );
}

/** Sizes at which loops, blocks and launches change, and magnitudes at which rounding could show. */
function shapeChecks(device: Engine["device"]): Check[] {
  const emulated = device === "emulated";
  const full = { kind: "mixed", support: "full" } as const;
  const jsd = { kind: "jsd", support: "full" } as const;
  const tail = { kind: "mixed", support: "tail" } as const;
  const floor = { kind: "reverse", support: "floor" } as const;
  const sizes = emulated ? [1, 2, 1025, 4096] : [1, 2, 15, 1023, 1024, 1025, 4096];
  const large = emulated ? [] : [50260, 151936];
  return [
    ...sizes.flatMap((vocab) => [
      valueCheck({ ...full, tokens: 2, vocab, studentDtype: "bf16" }),
      valueCheck({ ...tail, tokens: 2, vocab, teacherDtype: "f16" }),
    ]),
    // 50,260 columns leave rows unaligned and a partial vector; 151,936 is Qwen's vocabulary.
    ...large.map((vocab) => valueCheck({ ...full, tokens: 1, vocab, studentDtype: "bf16" })),
    ...large
      .slice(0, 1)
      .flatMap((vocab) => [
        valueCheck({ ...tail, tokens: 2, vocab, topK: 64 }),
        valueCheck({ ...floor, tokens: 2, vocab, topK: 64 }),
        valueCheck({ ...jsd, tokens: 2, vocab, weight: 0.1 }),
      ]),
    ...(emulated ? [valueCheck({ ...full, tokens: 1, vocab: 50260 }, ", one row")] : []),
    ...[0, 1, emulated ? 40 : 700].flatMap((tokens) => [
      valueCheck({ ...jsd, tokens, vocab: 31 }, `, ${tokens} rows`),
      valueCheck({ ...floor, tokens, vocab: 31 }, `, ${tokens} rows`),
    ]),
    ...combinations
      .filter(({ support }) => support !== "full")
      .flatMap(({ kind, support }) => [
        valueCheck({ kind, support, tokens: 2, vocab: 40, topK: 1 }, ", k = 1"),
        valueCheck({ kind, support, tokens: 2, vocab: 40, topK: 40 }, ", k = V"),
      ]),
    valueCheck({ ...tail, tokens: 2, vocab: 700, topK: 600 }, ", k = 600"),
    ...[full, jsd, tail, floor].flatMap((choices) => [
      valueCheck({ ...choices, tokens: 2, vocab: 300, shift: 1e4 }, ", student around 10,000"),
      valueCheck({ ...choices, tokens: 2, vocab: 300, spread: 500 }, ", logits of +-5,000"),
      valueCheck({ ...choices, tokens: 2, vocab: 300, temperature: 0.01 }, ", temperature 0.01"),
      valueCheck({ ...choices, tokens: 2, vocab: 300, temperature: 50 }, ", temperature 50"),
    ]),
    ...[full, jsd].map((choices) =>
      valueCheck(
        { ...choices, tokens: 2, vocab: 300, temperature: 0.5, teacherTemperature: 3 },
        ", temperatures 0.5 and 3",
      ),
    ),
    valueCheck({ ...full, tokens: 2, vocab: 300, teacherShift: -1e4 }, ", teacher around -10,000"),
    ...[0.001, 0.999].map((weight) =>
      valueCheck({ ...jsd, tokens: 3, vocab: 300, weight }, `, weight ${weight}`),
    ),
    ...[0, 1].flatMap((weight) =>
      [full, tail, floor].map(({ support }) =>
        valueCheck({ kind: "mixed", support, tokens: 3, vocab: 300, weight }, `, weight ${weight}`),
      ),
    ),
    valueCheck({ ...floor, tokens: 3, vocab: 300, logFloor: -5 }, ", floor -5"),
    ...[0.01, 1.5].map((apart) =>
      valueCheck(
        {
          kind: "forward",
          support: "truncated",
          tokens: 6,
          vocab: 300,
          topK: 3,
          apart,
          nonNegative: true,
        },
        `, not below 0, ${apart} apart`,
      ),
    ),
  ];
}

/** Distributions so close that a sum of p log(p / q) in floats would be nothing but rounding. */
function closeChecks(): Check[] {
  return combinations.flatMap(({ kind, support }) =>
    [1e-2, 1e-4].map((apart) =>
      valueCheck({ kind, support, tokens: 3, vocab: 600, apart }, `, ${apart} apart`),
    ),
  );
}

export function divergenceValueChecks(device: Engine["device"]): Check[] {
  return [...legalChecks(device), ...shapeChecks(device), ...closeChecks()];
}
