import { type Check, firstOf } from "../check.js";
import { close, sameBits, values, zero } from "../compare.js";
import { faultsOf, Random, widen, withThreads } from "../inputs.js";
import { pick, put, wholeRow } from "../logProb/bits.js";
import { aggregated, rowsOf } from "../surrogate/batch.js";
import { family, fused, type Outputs, type TokenLossCase, tokenLossCase } from "./cases.js";

/** What every check here reads of a call. */
const perToken = ["logProb", "entropy", "dLogProb", "dEntropy", "dLogits"] as const;
const rich = aggregated("token-sum", {
  ...{ beta: 0.1, mismatch: "sequence-truncate", entropyCoefficient: 0.05 },
});

const read = (out: Outputs, name: string) => out[name]!.readSync();

function allSame(got: Outputs, want: Outputs, names: readonly string[] = perToken): string | null {
  return firstOf(...names.map((name) => sameBits(name, read(got, name), read(want, name))));
}

/** Rows in another order and cut into micro-batches; `token-sum` needs no denominator. */
function rearranged(dtype: "f32" | "bf16"): Check {
  return {
    family,
    name: `${dtype} rows in another order and in micro-batches: the same bits of every token`,
    run(engine) {
      const c = tokenLossCase(rich, { masked: true, shaped: true, seed: 7 }, { dtype });
      const whole = fused(engine, c);
      const { rowOffsets } = c.tokens;
      const order = new Random(8).permutation(rowOffsets.length - 1);
      const cuts = [0, 3, 4, order.length];
      return firstOf(
        ...cuts.slice(1).map((end, i) => {
          const rows = order.slice(cuts[i], end);
          const own = rows.flatMap((r) => tokensOf(c, r));
          const part = { ...c, tokens: rowsOf(c.tokens, rows), rows: pick(c.rows, own) };
          const got = fused(engine, part);
          return firstOf(
            ...perToken.map((name) => {
              const [a, b] = [widened(got, name, dtype), widened(whole, name, dtype)];
              const width = name === "dLogits" ? c.rows.vocab : 1;
              const want = own.flatMap((t) => [...b.subarray(t * width, (t + 1) * width)]);
              return sameBits(name, a, Float64Array.from(want));
            }),
          );
        }),
      );
    },
  };
}

function tokensOf({ tokens }: TokenLossCase, row: number): number[] {
  const [begin, end] = [tokens.rowOffsets[row]!, tokens.rowOffsets[row + 1]!];
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}

function widened(out: Outputs, name: string, dtype: "f32" | "bf16"): Float64Array {
  return name === "dLogits" ? widen(read(out, name), dtype) : values(out[name]!);
}

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const c = tokenLossCase(rich, { masked: true, lengths: [300, 1, 0, 500, 70] }, { vocab: 200 });
    const names = [...perToken, "loss", "metrics"];
    const [one, two] = withThreads(engine, (own) => {
      const out = fused(own, c);
      return names.map((name) => read(out, name));
    });
    return firstOf(...one.map((array, i) => sameBits(names[i]!, array, two[i]!)));
  },
};

const underMask: Check = {
  family,
  name: "NaN, infinities and wrong ids under the mask change no bit",
  run(engine) {
    const c = tokenLossCase(rich, { masked: true, seed: 9 }, { temperature: "rows" });
    const masked = [...c.tokens.mask!].flatMap((m, t) => (m === 0 ? [t] : []));
    const soil = (x: Float32Array) => x.map((v, t) => (masked.includes(t) ? Number.NaN : v));
    const dirty: TokenLossCase = {
      ...c,
      rows: {
        ...masked.reduce((rows, t) => wholeRow(rows, t, Number.NaN), c.rows),
        targets: c.rows.targets.map((y, t) => (masked.includes(t) ? -100 : y)),
      },
      tokens: {
        ...c.tokens,
        ...{ oldLogProb: soil(c.tokens.oldLogProb!), refLogProb: soil(c.tokens.refLogProb!) },
        samplerLogProb: soil(c.tokens.samplerLogProb!),
      },
    };
    const { finding, faults } = faultsOf(engine, (own) => {
      const got = fused(own, dirty, true);
      const dLogits = values(got.dLogits!);
      const { vocab } = c.rows;
      return firstOf(
        allSame(got, fused(own, c), [...perToken, "loss"]),
        ...masked.map((t) => zero("masked dLogits", dLogits.subarray(t * vocab, (t + 1) * vocab))),
      );
    });
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

const allMasked: Check = {
  family,
  name: "all masked: loss 0, gradient 0",
  run(engine) {
    const c = tokenLossCase(rich, { lengths: [3, 0, 2] });
    const rows = [0, 1, 2, 3, 4].reduce((r, t) => wholeRow(r, t, Number.NaN), c.rows);
    rows.mask = new Uint8Array(5);
    const got = fused(engine, { ...c, rows, tokens: { ...c.tokens, mask: rows.mask } });
    return firstOf(
      zero("loss", values(got.loss!)),
      ...perToken.map((name) => zero(name, values(got[name]!))),
    );
  },
};

interface Fault {
  name: string;
  spoil: (c: TokenLossCase) => TokenLossCase;
  kind: string;
  /** Tokens that it takes out of the batch. */
  lost: readonly number[];
}

const nan = (x: Float32Array, at: number) => x.map((v, t) => (t === at ? Number.NaN : v));
/** The third token of the second row. */
const bad = 6;
const second = [4, 5, 6, 7, 8];

const faults: Fault[] = [
  {
    name: "NaN in a logit",
    spoil: (c) => ({ ...c, rows: put(c.rows, [[bad, 3, Number.NaN]]) }),
    ...{ kind: "not-a-number", lost: [bad] },
  },
  {
    name: "a row of -inf",
    spoil: (c) => ({ ...c, rows: wholeRow(c.rows, bad, -Infinity) }),
    ...{ kind: "no-support", lost: [bad] },
  },
  {
    name: "a wrong id",
    spoil: (c) => ({
      ...c,
      rows: { ...c.rows, targets: c.rows.targets.map((y, t) => (t === bad ? -1 : y)) },
    }),
    ...{ kind: "id-out-of-range", lost: [bad] },
  },
  {
    name: "NaN in oldLogProb",
    spoil: (c) => ({
      ...c,
      options: aggregated("token-sum", { beta: 0.1, entropyCoefficient: 0.05 }),
      tokens: {
        ...c.tokens,
        samplerLogProb: undefined,
        oldLogProb: nan(c.tokens.oldLogProb!, bad),
      },
    }),
    ...{ kind: "not-a-number", lost: [bad] },
  },
  {
    name: "NaN in what the row's mismatch weight is made of",
    spoil: (c) => ({
      ...c,
      tokens: { ...c.tokens, samplerLogProb: nan(c.tokens.samplerLogProb!, bad) },
    }),
    ...{ kind: "not-a-number", lost: second },
  },
  {
    name: "NaN in a row's advantage",
    spoil: (c) => ({ ...c, tokens: { ...c.tokens, advantage: nan(c.tokens.advantage!, 1) } }),
    ...{ kind: "not-a-number", lost: second },
  },
];

/** A token at fault is reported once, under its row of logits, and is otherwise as if it were masked. */
function faultCheck({ name, spoil, kind, lost }: Fault): Check {
  return {
    family,
    name: `${name}: gradient 0, reported once by token, others untouched`,
    run(engine) {
      const c = spoil(tokenLossCase(rich, { lengths: [4, 5] }));
      const { vocab } = c.rows;
      const names = ["dLogProb", "dEntropy", "dLogits"];
      const { finding, faults: found } = faultsOf(engine, (own) => {
        const got = fused(own, c);
        const mask = Uint8Array.from({ length: 9 }, (_, t) => (lost.includes(t) ? 0 : 1));
        const masked = { ...c, rows: { ...c.rows, mask }, tokens: { ...c.tokens, mask } };
        // Without its token a row's mismatch weight would be another one.
        const without = fused(own, masked);
        const others = (of: Float64Array, width: number) =>
          of.filter((_, i) => Math.floor(i / width) < 4);
        const whole = lost.length > 1 || c.options.mismatch === undefined;
        return firstOf(
          ...names.map((output) => {
            const width = output === "dLogits" ? vocab : 1;
            const [a, b] = [values(got[output]!), values(without[output]!)];
            return firstOf(
              sameBits(output, others(a, width), others(b, width)),
              whole ? sameBits(output, a, b) : null,
              ...lost.map((t) => zero(output, a.subarray(t * width, (t + 1) * width))),
            );
          }),
          whole ? close("loss", values(got.loss!), values(without.loss!), 1e-12) : null,
        );
      });
      const right =
        found.length === 1 &&
        found[0]!.kind === kind &&
        found[0]!.count === lost.length &&
        found[0]!.firstRow === lost[0];
      return finding ?? (right ? null : `reported ${JSON.stringify(found)}`);
    },
  };
}

/** What must not change a bit, and what stands where it must not. */
export function tokenLossEdgeChecks(): Check[] {
  return [
    rearranged("f32"),
    rearranged("bf16"),
    threads,
    underMask,
    allMasked,
    ...faults.map(faultCheck),
  ];
}
