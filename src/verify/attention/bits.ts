import type { Engine } from "../../engine/engine.js";
import { attention } from "../../engine/nn/attention.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { identical, sameBits } from "../compare.js";
import { type Float, Random, withThreads } from "../inputs.js";
import { type AttentionBatch, attentionBatch, numbers, train, upload } from "./batch.js";

const family = "attention";
type Trained = ReturnType<typeof train>;

/** Where row r of an array of `heads` heads begins and ends. */
function span(b: AttentionBatch, r: number, heads: number): [begin: number, end: number] {
  const width = heads * b.headDim;
  return [b.rowOffsets[r]! * width, b.rowOffsets[r + 1]! * width];
}

/** Queries of a few last positions over a cache whose slots are scattered and partly shared. */
function decoding(kvHeads: number, dtype: Float): Check {
  return {
    family,
    name: `${dtype}: decoding from shared cache slots has the bits of training, ${kvHeads} key heads`,
    run(engine) {
      const [heads, headDim, prefix] = [4, 16, 40];
      // Two rows with the same prompt of 40 tokens, which the cache holds once.
      const b = attentionBatch(heads, kvHeads, headDim, [45, 43], dtype);
      const width = kvHeads * headDim;
      b.k.copyWithin(45 * width, 0, prefix * width);
      b.v.copyWithin(45 * width, 0, prefix * width);
      const { out } = train(engine, b);

      const places = new Random(3).permutation(60);
      const cache = { k: new Float32Array(60 * width), v: new Float32Array(60 * width) };
      const index = Int32Array.from({ length: 88 }, (_, token) => {
        const own =
          token >= 45 && token < 45 + prefix ? token - 45 : token < 45 ? token : token - prefix;
        for (const name of ["k", "v"] as const) {
          const source = b[name].subarray(token * width, (token + 1) * width);
          cache[name].set(source, places[own]! * width);
        }
        return places[own]!;
      });
      const q = new Float32Array(4 * heads * headDim);
      const last = [43, 44, 86, 87];
      for (const [i, token] of last.entries()) {
        q.set(
          b.q.subarray(token * heads * headDim, (token + 1) * heads * headDim),
          i * heads * headDim,
        );
      }
      const decoded = attention(engine, {
        q: upload(engine, b, q, heads),
        k: upload(engine, b, cache.k, kvHeads),
        v: upload(engine, b, cache.v, kvHeads),
        queryOffsets: [0, 2, 4],
        keyOffsets: [0, 45, 88],
        keyIndex: index,
      }).out;
      return firstOf(
        ...last.map((token, i) =>
          identical(`token ${token}`, decoded.rows(i, i + 1), out.rows(token, token + 1)),
        ),
      );
    },
  };
}

const alone = (dtype: Float): Check => ({
  family,
  name: `${dtype}: a row alone has the bits that it has in a batch, forward and backward`,
  run(engine) {
    const lengths = [7, 37, 0, 12];
    const b = attentionBatch(2, 1, 16, lengths, dtype);
    const whole = train(engine, b);
    const dWhole = whole.gradients();
    const findings = lengths.map((length, r) => {
      const [begin, end] = [b.rowOffsets[r]!, b.rowOffsets[r + 1]!];
      const cut = (x: Float32Array, heads: number) => x.slice(...span(b, r, heads));
      const own = attentionBatch(2, 1, 16, [length], dtype);
      const one = train(engine, {
        ...own,
        q: cut(b.q, 2),
        k: cut(b.k, 1),
        v: cut(b.v, 1),
        dOut: cut(b.dOut, 2),
      });
      const d = one.gradients();
      return firstOf(
        identical(`out of row ${r}`, one.out, whole.out.rows(begin, end)),
        identical(`dQ of row ${r}`, d.dQ, dWhole.dQ.rows(begin, end)),
        identical(`dK of row ${r}`, d.dK, dWhole.dK.rows(begin, end)),
        identical(`dV of row ${r}`, d.dV, dWhole.dV.rows(begin, end)),
      );
    });
    return firstOf(...findings);
  },
});

/** Order of the rows, heads that swap places, and nothing else. */
const permuted = (dtype: Float): Check => ({
  family,
  name: `${dtype}: permuted rows have the bits of the others, forward and backward`,
  run(engine) {
    const lengths = [33, 1, 18];
    const b = attentionBatch(2, 1, 16, lengths, dtype);
    const order = [2, 0, 1];
    const move = (x: Float32Array | Float64Array, heads: number): Float32Array =>
      Float32Array.from(order.flatMap((r) => [...x.slice(...span(b, r, heads))]));
    const other = attentionBatch(
      2,
      1,
      16,
      order.map((r) => lengths[r]!),
      dtype,
    );
    const [one, two] = [
      b,
      {
        ...other,
        q: move(b.q, 2),
        k: move(b.k, 1),
        v: move(b.v, 1),
        dOut: move(b.dOut, 2),
      },
    ].map((batch) => train(engine, batch)) as [Trained, Trained];
    const [d, moved] = [one.gradients(), two.gradients()];
    const same = (what: string, x: Tensor, y: Tensor, heads: number) =>
      sameBits(what, Float32Array.from(numbers(b, y)), move(numbers(b, x), heads));
    return firstOf(
      same("out", one.out, two.out, 2),
      same("dQ", d.dQ, moved.dQ, 2),
      same("dK", d.dK, moved.dK, 1),
      same("dV", d.dV, moved.dV, 1),
    );
  },
});

/** What a later token or another row holds does not reach a query, nor a key through it. */
const unseen = (dtype: Float): Check => ({
  family,
  name: `${dtype}: NaN and infinities that a query does not see change no bit`,
  run(engine) {
    const lengths = [20, 40];
    const clean = attentionBatch(2, 1, 16, lengths, dtype);
    const spoilt = { ...clean, k: clean.k.slice(), v: clean.v.slice(), q: clean.q.slice() };
    const late = 45; // of the second row, in the middle of a tile
    spoilt.k.fill(Number.NaN, late * 16, (late + 1) * 16);
    spoilt.v.fill(Number.POSITIVE_INFINITY, late * 16, late * 16 + 8);
    spoilt.v.fill(Number.NaN, late * 16 + 8, (late + 1) * 16);
    const [one, two] = [clean, spoilt].map((b) => train(engine, b)) as [Trained, Trained];
    const [d, e] = [one.gradients(), two.gradients()];
    // Query `early` sees no late key; keys after it do not see it.
    const early = { ...clean, q: clean.q.slice(), dOut: clean.dOut.slice() };
    early.q.fill(Number.NaN, 25 * 32, 26 * 32);
    early.dOut.fill(Number.NEGATIVE_INFINITY, 25 * 32, 26 * 32);
    const g = train(engine, early).gradients();
    const rows = (x: Tensor, begin: number, end: number) => numbers(clean, x.rows(begin, end));
    const same = (what: string, x: Tensor, y: Tensor, begin: number, end: number) =>
      sameBits(`${what} of ${begin} to ${end}`, rows(x, begin, end), rows(y, begin, end));
    const poisoned = rows(two.out, late, late + 1).some((x) => !Number.isNaN(x));
    return firstOf(
      same("out", two.out, one.out, 0, late),
      same("dQ", e.dQ, d.dQ, 0, late),
      same("dK", e.dK, d.dK, 0, 20),
      same("dV", e.dV, d.dV, 0, 20),
      same("dK beside a NaN query", g.dK, d.dK, 26, 60),
      same("dV beside a NaN query", g.dV, d.dV, 26, 60),
      same("dK of the other row", g.dK, d.dK, 0, 20),
      poisoned ? "a query that sees a NaN key gave a number" : null,
    );
  },
});

const threads = (dtype: Float): Check => ({
  family,
  name: `${dtype}: one and two threads give the same bits`,
  run(engine) {
    const b = attentionBatch(2, 1, 16, [33, 5, 40], dtype);
    const [one, two] = withThreads(engine, (own) => {
      const { out, gradients } = train(own, b);
      return [out, ...Object.values(gradients())].map((tensor) => tensor.readSync());
    });
    return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
  },
});

/** Decoding, batching, order, threads and what is not seen change no bit. */
export function attentionBitChecks(device: Engine["device"]): Check[] {
  const each: Float[] = device === "emulated" ? ["f32", "bf16"] : ["f32", "bf16", "f16"];
  return [
    ...[1, 2, 4].map((kvHeads) => decoding(kvHeads, "f32")),
    ...[1, 2].map((kvHeads) => decoding(kvHeads, "bf16")),
    ...each.flatMap((dtype) => [alone(dtype), permuted(dtype), unseen(dtype), threads(dtype)]),
  ];
}
