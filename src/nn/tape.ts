import type { Float } from "../engine/dtype.js";
import type { Engine } from "../engine/engine.js";
import {
  type FlowStepInputs,
  type FlowStepOptions,
  flowStep,
  flowStepBackward,
} from "../engine/kernels/flowStep.js";
import { gaussianKl, gaussianKlBackward } from "../engine/kernels/gaussian.js";
import { logProb, logProbBackward } from "../engine/kernels/logProb.js";
import { attention, attentionBackward } from "../engine/nn/attention.js";
import { add, addBias, cast, fill, sumRows } from "../engine/nn/elementwise.js";
import { gatherRows, scatterAddRows, scatterRows } from "../engine/nn/embed.js";
import { matmul } from "../engine/nn/matmul.js";
import { rmsNorm, rmsNormBackward } from "../engine/nn/rmsNorm.js";
import { rope } from "../engine/nn/rope.js";
import { swiglu, swigluBackward } from "../engine/nn/swiglu.js";
import type { Offsets, Slots } from "../engine/offsets.js";
import type { Tensor } from "../engine/tensor.js";
import { Recording, type Var } from "./recording.js";

export { Var } from "./recording.js";

/** Whether a tape records. */
export interface TapeOptions {
  /** false: values only, for inference; memory goes back as soon as `scope` allows. Default true. */
  grad?: boolean;
}

/** Keys and values that rows have left behind, at slots that rows may share. */
export interface CachedKeys {
  /** As the queries, [slots, kvHeads, headDim]. */
  readonly key: Tensor;
  readonly value: Tensor;
  /** Row r's keys are the slots keyIndex[keyOffsets[r]] .. keyIndex[keyOffsets[r + 1] - 1]. */
  readonly keyOffsets: Offsets;
  readonly keyIndex: Slots;
}

/**
 * Reverse-mode differentiation over the engine's operations. The same calls serve training and
 * inference: a tape without gradients computes the same values and keeps nothing.
 *
 * Values are f32, bf16 or f16, all arithmetic is float32. The gradient of a value has the value's type;
 * those of parameters are f32 sums, whatever the parameter.
 *
 * @example
 * const tape = new Tape(engine);
 * const y = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
 * tape.backward([[y, dY]]); // adds to weight.grad
 */
export class Tape extends Recording {
  constructor(engine: Engine, { grad = true }: TapeOptions = {}) {
    super(engine, grad);
  }

  /**
   * a [M, K] times b [K, N], or times the transpose of b [N, K].
   *
   * @param how.dtype of the product; default a's. Logits are best left in f32.
   */
  matmul(a: Var, b: Var, how: { transposeB?: boolean; dtype?: Float } = {}): Var {
    const { engine } = this;
    const { transposeB = false, dtype = a.value.dtype as Float } = how;
    const value = matmul(engine, a.value, b.value, { transposeB, dtype });
    return this.record([a, b], [value], [], (y) => {
      const d = y.grad!;
      if (a.differentiable) this.#addProduct(a, d, b.value, { transposeB: !transposeB });
      if (!b.differentiable) return;
      if (transposeB) this.#addProduct(b, d, a.value, { transposeA: true });
      else this.#addProduct(b, a.value, d, { transposeA: true });
    })[0];
  }

  #addProduct(v: Var, a: Tensor, b: Tensor, how: { transposeA?: boolean; transposeB?: boolean }) {
    const { engine } = this;
    // A product takes f32 by 16 bits, not the other way round.
    const left = a.dtype !== b.dtype && a.dtype !== "f32" ? cast(engine, a, "f32") : a;
    if (v.grad === null || v.gradShared || v.gradType !== "f32") {
      this.accumulate(v, matmul(engine, left, b, { ...how, dtype: v.gradType }));
    } else {
      matmul(engine, left, b, { ...how, accumulateInto: v.grad });
    }
    if (left !== a) left.dispose();
  }

  /** a + b, element by element. */
  add(a: Var, b: Var): Var {
    return this.record([a, b], [add(this.engine, a.value, b.value)], [], (y) => {
      if (a.differentiable) this.share(a, y.grad!);
      if (b.differentiable) this.share(b, y.grad!);
    })[0];
  }

  /** x [T, N] + bias [N] in every row, in the type of x. */
  addBias(x: Var, bias: Var): Var {
    const { engine } = this;
    const same = x.value.dtype === bias.value.dtype;
    const added = same ? bias.value : cast(engine, bias.value, x.value.dtype as Float);
    const value = addBias(engine, x.value, added);
    if (!same) added.dispose();
    return this.record([x, bias], [value], [], (y) => {
      if (bias.differentiable) this.accumulate(bias, sumRows(this.engine, y.grad!));
      if (x.differentiable) this.share(x, y.grad!);
    })[0];
  }

  /** The same elements under another shape. */
  view(x: Var, shape: readonly number[]): Var {
    return this.record([x], [x.value.view(shape)], [], (y) => {
      this.share(x, y.grad!);
    })[0];
  }

  /** Rows of a table (embedding) or of activations: y[t] = x[ids[t]]. ids is i32 [T] and not owned. */
  rows(x: Var, ids: Tensor): Var {
    return this.record([x], [gatherRows(this.engine, x.value, ids)], [], (y) => {
      this.addInPlace(x, (d) => scatterAddRows(this.engine, y.grad!, ids, d));
    })[0];
  }

  /** x [..., N] / rms(x) * weight [N]. */
  rmsNorm(x: Var, weight: Var, eps: number): Var {
    const { y: value, invRms } = rmsNorm(this.engine, x.value, weight.value, { eps });
    return this.record([x, weight], [value], [invRms], (y) => {
      const back = rmsNormBackward(this.engine, {
        x: x.value,
        weight: weight.value,
        invRms,
        dY: y.grad!,
      });
      if (x.differentiable) this.accumulate(x, back.dX);
      else back.dX.dispose();
      if (weight.differentiable) this.accumulate(weight, back.dWeight);
      else back.dWeight.dispose();
    })[0];
  }

  /**
   * The residual stream and the norm of it, in one pass: sum = x + residual, y = sum / rms(sum) *
   * weight [N]. x and residual are [..., N].
   */
  addRmsNorm(x: Var, residual: Var, weight: Var, eps: number): { sum: Var; y: Var } {
    const { engine } = this;
    const how = { eps, residual: residual.value };
    const forward = rmsNorm(engine, x.value, weight.value, how);
    const values = [forward.sum!, forward.y] as const;
    const [sum, y] = this.record([x, residual, weight], values, [forward.invRms], (sum, y) => {
      let d = sum.grad;
      let back: { dX: Tensor; dWeight: Tensor } | null = null;
      if (y.grad !== null) {
        back = rmsNormBackward(engine, {
          x: sum.value,
          weight: weight.value,
          invRms: forward.invRms,
          dY: y.grad,
          ...(d === null ? {} : { dSum: d }),
        });
        d = back.dX;
        if (weight.differentiable) this.accumulate(weight, back.dWeight);
        else back.dWeight.dispose();
      }
      if (x.differentiable) this.share(x, d!);
      if (residual.differentiable) this.share(residual, d!);
      back?.dX.dispose();
    });
    return { sum, y };
  }

  /** Rotary position embedding of x [T, heads, headDim] at positions (i32 [T], not owned). */
  rope(x: Var, positions: Tensor, base: number): Var {
    return this.record([x], [rope(this.engine, x.value, positions, { base })], [], (y) => {
      this.accumulate(x, rope(this.engine, y.grad!, positions, { base, inverse: true }));
    })[0];
  }

  /** silu(gate) * up. */
  swiglu(gate: Var, up: Var): Var {
    return this.record([gate, up], [swiglu(this.engine, gate.value, up.value)], [], (y) => {
      const back = swigluBackward(this.engine, {
        gate: gate.value,
        up: up.value,
        dY: y.grad!,
      });
      this.accumulate(gate, back.dGate);
      this.accumulate(up, back.dUp);
    })[0];
  }

  /** silu(x): swiglu whose other factor is 1. */
  silu(x: Var): Var {
    const { engine } = this;
    const ones = engine.empty(x.value.shape, x.value.dtype);
    fill(engine, ones, 1);
    return this.record([x], [swiglu(engine, x.value, ones)], [ones], (y) => {
      const back = swigluBackward(engine, { gate: x.value, up: ones, dY: y.grad! });
      back.dUp.dispose();
      this.accumulate(x, back.dGate);
    })[0];
  }

  /**
   * A flow model's steps from the velocities v [N, D]: log-probs [N] of what was drawn, and means [N, D].
   *
   * @param steps the states f32 [N, D] before and after, not owned; times
   */
  flowStep(
    v: Var,
    steps: Omit<FlowStepInputs, "v" | "noise" | "next"> & { next: Tensor },
    options: FlowStepOptions,
  ): { logProb: Var; mean: Var } {
    const { engine } = this;
    const forward = flowStep(engine, { ...steps, v: v.value }, options);
    const { next, slope, vScale } = forward;
    const values = [forward.logProb, forward.mean] as const;
    const saved = [forward.std, slope, vScale];
    const [logProb, mean] = this.record([v], values, saved, (logProb, mean) => {
      const none = logProb.grad === null ? engine.zeros(logProb.value.shape) : null;
      const dV = flowStepBackward(engine, {
        ...{ next, mean: mean.value, slope, vScale },
        dLogProb: none ?? logProb.grad!,
        dMean: mean.grad,
      });
      none?.dispose();
      this.accumulate(v, dV);
    });
    return { logProb, mean };
  }

  /** Squared error to a target f32 [N, D], not owned: the mean over the elements of each row, [N]. */
  squaredError(y: Var, target: Tensor): Var {
    const { engine } = this;
    // (y - target)^2 / (2 std^2), whose divisor is 1 at this std.
    const forward = gaussianKl(engine, { mean: y.value, refMean: target, std: Math.SQRT1_2 });
    const { kl, slope } = forward;
    return this.record([y], [kl], [slope], (error) => {
      const given = { mean: y.value, refMean: target, slope, dKl: error.grad! };
      this.accumulate(y, gaussianKlBackward(engine, given));
    })[0];
  }

  /** x [N, ...] as the rows `ids` (i32 [N], distinct, not owned) of `count` rows; the others are 0. */
  spread(x: Var, ids: Tensor, count: number): Var {
    const { engine } = this;
    const { shape, dtype } = x.value;
    // Tables of rows have two dimensions or more.
    const wide = (tensor: Tensor) =>
      shape.length === 1 ? tensor.view([tensor.size, 1]) : tensor.view(tensor.shape);
    const value = engine.scope(() => {
      const out = engine.zeros([count, ...shape.slice(1)], dtype);
      scatterRows(engine, wide(x.value), ids, wide(out));
      return out;
    });
    return this.record([x], [value], [], (y) => {
      const d = engine.scope(() => gatherRows(engine, wide(y.grad!), ids).view(shape));
      this.accumulate(x, d);
    })[0];
  }

  /**
   * Causal attention within ragged rows: q [T, heads, headDim], k and v [T, kvHeads, headDim]; the
   * scale is 1 / sqrt(headDim).
   */
  attention(q: Var, k: Var, v: Var, rowOffsets: Offsets): Var {
    const { engine } = this;
    const scale = attentionScale(q.value);
    const forward = attention(engine, {
      q: q.value,
      k: k.value,
      v: v.value,
      queryOffsets: rowOffsets,
      keyOffsets: rowOffsets,
      scale,
      stats: this.grad,
    });
    const saved = forward.stats === null ? [] : [forward.stats];
    return this.record([q, k, v], [forward.out], saved, (y) => {
      const back = attentionBackward(engine, {
        rowOffsets,
        q: q.value,
        k: k.value,
        v: v.value,
        scale,
        out: y.value,
        stats: forward.stats!,
        dOut: y.grad!,
      });
      this.accumulate(q, back.dQ);
      this.accumulate(k, back.dK);
      this.accumulate(v, back.dV);
    })[0];
  }

  /** As `attention`, over keys and values of a cache; the queries are each row's last positions. */
  cachedAttention(q: Var, queryOffsets: Offsets, cache: CachedKeys): Var {
    const { out } = attention(this.engine, {
      q: q.value,
      k: cache.key,
      v: cache.value,
      queryOffsets,
      keyOffsets: cache.keyOffsets,
      keyIndex: cache.keyIndex,
      scale: attentionScale(q.value),
    });
    return this.record([q], [out], [], () => {
      throw new Error("attention over a cache has no gradient");
    })[0];
  }

  /** Log-probabilities of targets (i32 [T], not owned) under softmax(logits [T, V] / temperature). */
  logProb(
    logits: Var,
    targets: Tensor,
    how: { temperature?: number; mask?: Tensor | null; entropy?: boolean } = {},
  ): { logProb: Var; entropy: Var | null } {
    const { engine } = this;
    const { temperature = 1, mask = null } = how;
    const forward = logProb(engine, logits.value, targets, { ...how });
    const backward = (y: Var, entropy: Var | null) => {
      // A [T, V] gradient beside the logits would double the largest tensor of a step.
      const inPlace = logits.uses === 1 && logits.intermediate;
      const d = logProbBackward(engine, {
        logits: logits.value,
        targets,
        stats: forward.stats,
        dLogProb: y.grad,
        dEntropy: entropy?.grad,
        entropy: entropy?.grad == null ? null : entropy.value,
        temperature,
        mask,
        out: inPlace ? logits.value : undefined,
      });
      if (inPlace) this.share(logits, d);
      else this.accumulate(logits, d);
    };
    const { stats } = forward;
    if (forward.entropy === null) {
      const [y] = this.record([logits], [forward.logProb], [stats], (a) => backward(a, null));
      return { logProb: y, entropy: null };
    }
    const [y, entropy] = this.record(
      [logits],
      [forward.logProb, forward.entropy],
      [stats],
      backward,
    );
    return { logProb: y, entropy };
  }
}

function attentionScale(q: Tensor): number {
  return 1 / Math.sqrt(q.shape.at(-1)!);
}
