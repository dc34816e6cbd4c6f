import type { Engine } from "../../engine/engine.js";
import { attentionGradient, attention as reference } from "../../reference/attention.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { type Check, firstOf } from "../check.js";
import { close, F32_ROUNDING, values } from "../compare.js";
import { type AttentionBatch, attentionBatch, train } from "./batch.js";
import { attentionBitChecks } from "./bits.js";

const family = "attention";

function largest(x: Float32Array): number {
  return x.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
}

/**
 * A score is a sum of D products: its error is a few roundings of its size, which Cauchy-Schwarz
 * bounds by `score`. The softmax turns that into a relative error of the weights, and out is a
 * weighted mean of v. Gradients multiply it with what they are sums of, over `terms` queries.
 */
function tolerances(b: AttentionBatch) {
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

function checkTraining(engine: Engine, b: AttentionBatch): string | null {
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
    const b = attentionBatch(4, 2, 6, [1, 5, 3]);
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
  const check = (name: string, make: () => AttentionBatch): Check => ({
    family,
    name,
    run: (engine) => checkTraining(engine, make()),
  });
  return [
    ...sizes.map(([heads, kvHeads, headDim]) =>
      check(`${heads} heads, ${kvHeads} key heads, D = ${headDim}`, () =>
        attentionBatch(heads, kvHeads, headDim, lengths),
      ),
    ),
    check("long rows", () => attentionBatch(4, 2, 32, long)),
    check("sharp attention (scores of some 100)", () => attentionBatch(2, 1, 32, lengths, 40)),
    check("a given scale", () => ({ ...attentionBatch(2, 2, 16, lengths), scale: 0.7 })),
    check("only empty rows", () => attentionBatch(2, 1, 16, [0, 0])),
    gradient,
    ...attentionBitChecks(),
  ];
}
