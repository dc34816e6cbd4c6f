import type { Engine } from "../engine/engine.js";
import { attention, attentionBackward } from "../engine/nn/attention.js";
import {
  type AttentionShape,
  attentionGradient,
  attention as reference,
} from "../reference/attention.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, identical, sameBits, values } from "./compare.js";
import { offsets, Random, withThreads } from "./inputs.js";

const family = "attention";

interface Batch extends AttentionShape {
  rowOffsets: Int32Array;
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  dOut: Float32Array;
}

function batch(
  heads: number,
  kvHeads: number,
  headDim: number,
  lengths: readonly number[],
  sharpness = 1,
): Batch {
  const random = new Random(heads * 1000 + headDim);
  const rowOffsets = offsets(lengths);
  const tokens = rowOffsets.at(-1)!;
  return {
    heads,
    kvHeads,
    headDim,
    rowOffsets,
    queryOffsets: rowOffsets,
    keyOffsets: rowOffsets,
    q: random.normals(tokens * heads * headDim, sharpness),
    k: random.normals(tokens * kvHeads * headDim),
    v: random.normals(tokens * kvHeads * headDim),
    dOut: random.normals(tokens * heads * headDim),
  };
}

function upload(engine: Engine, b: Batch) {
  const tokens = b.rowOffsets.at(-1)!;
  return {
    q: engine.tensor(b.q, [tokens, b.heads, b.headDim]),
    k: engine.tensor(b.k, [tokens, b.kvHeads, b.headDim]),
    v: engine.tensor(b.v, [tokens, b.kvHeads, b.headDim]),
    dOut: engine.tensor(b.dOut, [tokens, b.heads, b.headDim]),
  };
}

function train(engine: Engine, b: Batch) {
  const { q, k, v, dOut } = upload(engine, b);
  const rows = { queryOffsets: b.rowOffsets, keyOffsets: b.rowOffsets };
  const { out, stats } = attention(engine, { q, k, v, ...rows, scale: b.scale, stats: true });
  const { rowOffsets, scale } = b;
  const gradients = () =>
    attentionBackward(engine, { q, k, v, rowOffsets, scale, out, stats: stats!, dOut });
  return { out, gradients };
}

function largest(x: Float32Array): number {
  return x.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
}

/**
 * A score is a sum of D products: its error is a few roundings of its size, which Cauchy-Schwarz
 * bounds by `score`. The softmax turns that into a relative error of the weights, and out is a
 * weighted mean of v. Gradients multiply it with what they are sums of, over `terms` queries.
 */
function tolerances(b: Batch) {
  const { headDim, heads, kvHeads, rowOffsets } = b;
  const scale = Math.abs(b.scale ?? 1 / Math.sqrt(headDim));
  const norm = (x: Float32Array) => {
    let most = 0;
    for (let i = 0; i < x.length; i += headDim) {
      most = Math.max(most, Math.hypot(...x.subarray(i, i + headDim)));
    }
    return most;
  };
  const score = norm(b.q) * norm(b.k) * scale;
  const relative = F32_ROUNDING * (8 + 4 * score);
  const dWeight = norm(b.dOut) * norm(b.v);
  const longest = Math.max(
    0,
    ...Array.from(rowOffsets.subarray(1), (end, r) => end - rowOffsets[r]!),
  );
  const terms = Math.sqrt((longest * heads) / kvHeads);
  return {
    out: relative * largest(b.v),
    dQ: 2 * relative * dWeight * scale * largest(b.k),
    dK: 2 * relative * dWeight * scale * largest(b.q) * terms,
    dV: 2 * relative * largest(b.dOut) * terms,
  };
}

function checkTraining(engine: Engine, b: Batch): string | null {
  const { out, gradients } = train(engine, b);
  const got = gradients();
  const want = attentionGradient(b.q, b.k, b.v, b.dOut, b);
  const tolerance = tolerances(b);
  return firstOf(
    close("out", values(out), reference(b.q, b.k, b.v, b), tolerance.out),
    close("dQ", values(got.dQ), want.dQ, tolerance.dQ),
    close("dK", values(got.dK), want.dK, tolerance.dK),
    close("dV", values(got.dV), want.dV, tolerance.dV),
  );
}

const gradient: Check = {
  family,
  name: "gradients against central differences",
  run(engine) {
    const b = batch(4, 2, 6, [1, 5, 3]);
    const objective = (change: Partial<Record<"q" | "k" | "v", Float64Array>>) => {
      const { q, k, v } = { ...b, ...change };
      return reference(q, k, v, b).reduce((sum, x, i) => sum + x * b.dOut[i]!, 0);
    };
    const got = train(engine, b).gradients();
    return firstOf(
      close(
        "dQ",
        values(got.dQ),
        finiteDifference((q) => objective({ q }), b.q),
        1e-5,
      ),
      close(
        "dK",
        values(got.dK),
        finiteDifference((k) => objective({ k }), b.k),
        1e-5,
      ),
      close(
        "dV",
        values(got.dV),
        finiteDifference((v) => objective({ v }), b.v),
        1e-5,
      ),
    );
  },
};

/** Queries of a few last positions over a cache whose slots are scattered and partly shared. */
function decoding(kvHeads: number): Check {
  return {
    family,
    name: `decoding from shared cache slots has the bits of training, ${kvHeads} key heads`,
    run(engine) {
      const [heads, headDim, prefix] = [4, 16, 40];
      // Two rows with the same prompt of 40 tokens, which the cache holds once.
      const b = batch(heads, kvHeads, headDim, [45, 43]);
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
    const b = batch(2, 1, 16, lengths);
    const whole = train(engine, b);
    const dWhole = whole.gradients();
    const findings = lengths.map((length, r) => {
      const [begin, end] = [b.rowOffsets[r]!, b.rowOffsets[r + 1]!];
      const cut = (x: Float32Array, heads: number) =>
        x.slice(begin * heads * b.headDim, end * heads * b.headDim);
      const own = batch(2, 1, 16, [length]);
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
    const b = batch(2, 1, 16, [33, 5, 40]);
    const [one, two] = withThreads(engine, (own) => {
      const { out, gradients } = train(own, b);
      return [out, ...Object.values(gradients())].map((tensor) => tensor.readSync());
    });
    return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
  },
};

export function attentionChecks(device: Engine["device"]): Check[] {
  const lengths = [1, 5, 0, 17, 33];
  const long = device === "emulated" ? [70, 3] : [300, 1, 140];
  const sizes: [heads: number, kvHeads: number, headDim: number][] = [
    [1, 1, 1],
    [2, 2, 16],
    [4, 2, 32],
    [6, 1, 20],
    [2, 1, 64],
    [1, 1, 256],
  ];
  const check = (name: string, make: () => Batch): Check => ({
    family,
    name,
    run: (engine) => checkTraining(engine, make()),
  });
  return [
    ...sizes.map(([heads, kvHeads, headDim]) =>
      check(`${heads} heads, ${kvHeads} key heads, D = ${headDim}`, () =>
        batch(heads, kvHeads, headDim, lengths),
      ),
    ),
    check("long rows", () => batch(4, 2, 32, long)),
    check("sharp attention (scores of some 100)", () => batch(2, 1, 32, lengths, 40)),
    check("a given scale", () => ({ ...batch(2, 2, 16, lengths), scale: 0.7 })),
    check("only empty rows", () => batch(2, 1, 16, [0, 0])),
    gradient,
    decoding(1),
    decoding(2),
    decoding(4),
    alone,
    threads,
  ];
}
