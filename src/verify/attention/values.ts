import type { Engine } from "../../engine/engine.js";
import { attentionGradient, attention as reference } from "../../reference/attention.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { type Check, firstOf } from "../check.js";
import { close, F32_ROUNDING } from "../compare.js";
import { type Float, rounding } from "../inputs.js";
import { type AttentionBatch, attentionBatch, numbers, train } from "./batch.js";
import { attentionBitChecks } from "./bits.js";

const family = "attention";

function largest(x: Float32Array): number {
  return x.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
}

/**
 * A score is a sum of D products: its error is a few roundings of its size, which Cauchy-Schwarz
 * bounds by `score`. The softmax turns that into a relative error of the weights, and out is a
 * weighted mean of v. Gradients multiply it with what they are sums of, over `terms` queries.
 *
 * 16-bit: a product on tensor cores errs by 2^-22 of its size for every 16 terms (mma.h), and what is
 * rounded to the dtype, each time by `own`, is: weights and out; out within delta (which is then off
 * by 2 `own` of |d out| |v|), d score (at most twice that product) and the gradients.
 */
function tolerances(b: AttentionBatch) {
  const { dtype, headDim, heads, kvHeads, rowOffsets } = b;
  const scale = Math.abs(b.scale ?? 1 / Math.sqrt(headDim));
  const norm = (x: Float32Array) => {
    let most = 0;
    for (let i = 0; i < x.length; i += headDim) {
      most = Math.max(most, Math.hypot(...x.subarray(i, i + headDim)));
    }
    return most;
  };
  const score = norm(b.q) * norm(b.k) * scale;
  const longest = Math.max(
    0,
    ...Array.from(rowOffsets.subarray(1), (end, r) => end - rowOffsets[r]!),
  );
  // f16 rounds what is below 2^-14 to multiples of 2^-24.
  const tiny = dtype === "f16" ? longest * 2 ** -25 : 0;
  const own = dtype === "f32" ? 0 : rounding[dtype] + tiny;
  const perScore = dtype === "f32" ? 4 : 4 * (2 + Math.ceil(headDim / 16));
  const relative = F32_ROUNDING * (8 + perScore * score);
  const dWeight = norm(b.dOut) * norm(b.v);
  const terms = Math.sqrt((longest * heads) / kvHeads);
  return {
    out: (relative + 2 * own) * largest(b.v),
    dQ: (2 * relative + 6 * own) * dWeight * scale * largest(b.k),
    dK: (2 * relative + 6 * own) * dWeight * scale * largest(b.q) * terms,
    dV: (2 * relative + 2 * own) * largest(b.dOut) * terms,
  };
}

function checkTraining(engine: Engine, b: AttentionBatch): string | null {
  const { out, gradients } = train(engine, b);
  const got = gradients();
  const want = attentionGradient(b.q, b.k, b.v, b.dOut, b);
  const tolerance = tolerances(b);
  return firstOf(
    close("out", numbers(b, out), reference(b.q, b.k, b.v, b), tolerance.out),
    close("dQ", numbers(b, got.dQ), want.dQ, tolerance.dQ),
    close("dK", numbers(b, got.dK), want.dK, tolerance.dK),
    close("dV", numbers(b, got.dV), want.dV, tolerance.dV),
  );
}

const gradient = (dtype: Float): Check => ({
  family,
  name: `${dtype}: gradients against central differences`,
  run(engine) {
    const b = attentionBatch(4, 2, 6, [1, 5, 3], dtype);
    const objective = (change: Partial<Record<"q" | "k" | "v", Float64Array>>) => {
      const { q, k, v } = { ...b, ...change };
      return reference(q, k, v, b).reduce((sum, x, i) => sum + x * b.dOut[i]!, 0);
    };
    const got = train(engine, b).gradients();
    const slopes = {
      dQ: finiteDifference((q) => objective({ q }), b.q),
      dK: finiteDifference((k) => objective({ k }), b.k),
      dV: finiteDifference((v) => objective({ v }), b.v),
    };
    const tolerance = tolerances(b);
    return firstOf(
      ...(["dQ", "dK", "dV"] as const).map((name) =>
        close(name, numbers(b, got[name]), slopes[name], 1e-5 + tolerance[name]),
      ),
    );
  },
});

export function attentionChecks(device: Engine["device"]): Check[] {
  const lengths = [1, 5, 0, 17, 33];
  const long = device === "emulated" ? [70, 3] : [300, 1, 140];
  const sizes: [dtype: Float, heads: number, kvHeads: number, headDim: number][] = [
    ["f32", 1, 1, 1],
    ["f32", 2, 2, 16],
    ["f32", 4, 2, 32],
    ["f32", 6, 1, 20],
    ["f32", 2, 1, 64],
    ["f32", 1, 1, 256],
    ["bf16", 1, 1, 1],
    ["bf16", 2, 1, 64],
    ["bf16", 2, 1, 128],
    ["f16", 3, 1, 72],
    ["f16", 4, 2, 20],
  ];
  const floats = ["f32", "bf16", "f16"] as const;
  const check = (name: string, make: () => AttentionBatch): Check => ({
    family,
    name,
    run: (engine) => checkTraining(engine, make()),
  });
  const each = (name: string, make: (dtype: Float) => AttentionBatch): Check[] =>
    floats.map((dtype) => check(`${dtype}: ${name}`, () => make(dtype)));
  return [
    ...sizes.map(([dtype, heads, kvHeads, headDim]) =>
      check(`${dtype}: ${heads} heads, ${kvHeads} key heads, D = ${headDim}`, () =>
        attentionBatch(heads, kvHeads, headDim, lengths, dtype),
      ),
    ),
    ...each("long rows", (dtype) => attentionBatch(2, 1, 32, long, dtype)),
    check("bf16: long rows, D = 128", () => attentionBatch(1, 1, 128, long, "bf16")),
    ...each("sharp attention (scores of some 100)", (dtype) =>
      attentionBatch(2, 1, 32, lengths, dtype, 40),
    ),
    ...each("a negative scale", (dtype) => ({
      ...attentionBatch(2, 2, 16, lengths, dtype),
      scale: -0.7,
    })),
    ...each("scale 0", (dtype) => ({ ...attentionBatch(1, 1, 16, [3, 20], dtype), scale: 0 })),
    ...each("only empty rows", (dtype) => attentionBatch(2, 1, 16, [0, 0], dtype)),
    ...floats.map(gradient),
    ...attentionBitChecks(device),
  ];
}
