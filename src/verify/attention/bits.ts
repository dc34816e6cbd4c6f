import { attention } from "../../engine/nn/attention.js";
import { type Check, firstOf } from "../check.js";
import { identical, sameBits } from "../compare.js";
import { Random, withThreads } from "../inputs.js";
import { attentionBatch, train } from "./batch.js";

const family = "attention";

/** Queries of a few last positions over a cache whose slots are scattered and partly shared. */
function decoding(kvHeads: number): Check {
  return {
    family,
    name: `decoding from shared cache slots has the bits of training, ${kvHeads} key heads`,
    run(engine) {
      const [heads, headDim, prefix] = [4, 16, 40];
      // Two rows with the same prompt of 40 tokens, which the cache holds once.
      const b = attentionBatch(heads, kvHeads, headDim, [45, 43]);
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
        q: engine.tensor(q, [4, heads, headDim]),
        k: engine.tensor(cache.k, [60, kvHeads, headDim]),
        v: engine.tensor(cache.v, [60, kvHeads, headDim]),
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

const alone: Check = {
  family,
  name: "a row alone has the bits that it has in a batch, forward and backward",
  run(engine) {
    const lengths = [7, 37, 0, 12];
    const b = attentionBatch(2, 1, 16, lengths);
    const whole = train(engine, b);
    const dWhole = whole.gradients();
    const findings = lengths.map((length, r) => {
      const [begin, end] = [b.rowOffsets[r]!, b.rowOffsets[r + 1]!];
      const cut = (x: Float32Array, heads: number) =>
        x.slice(begin * heads * b.headDim, end * heads * b.headDim);
      const own = attentionBatch(2, 1, 16, [length]);
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
};

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const b = attentionBatch(2, 1, 16, [33, 5, 40]);
    const [one, two] = withThreads(engine, (own) => {
      const { out, gradients } = train(own, b);
      return [out, ...Object.values(gradients())].map((tensor) => tensor.readSync());
    });
    return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
  },
};

/** Decoding, batching and threads change no bit. */
export function attentionBitChecks(): Check[] {
  return [decoding(1), decoding(2), decoding(4), alone, threads];
}
