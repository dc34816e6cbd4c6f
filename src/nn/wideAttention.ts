import type { Float } from "../engine/dtype.js";
import type { Engine, TensorLike } from "../engine/engine.js";
import {
  type AttentionBackwardInputs,
  type AttentionInputs,
  type AttentionResult,
  attention,
  attentionBackward,
} from "../engine/nn/attention.js";
import { cast } from "../engine/nn/elementwise.js";
import { Tensor } from "../engine/tensor.js";

/** `attention` for 16-bit tensors: computed on float32 copies, the result rounded to q's dtype. */
export function wideAttention(
  engine: Engine,
  args: AttentionInputs & { q: Tensor },
): AttentionResult {
  const { dtype } = args.q;
  if (dtype === "f32") return attention(engine, args);
  return engine.scope(() => {
    const { q, k, v } = args;
    const { out, stats } = attention(engine, { ...args, ...widened(engine, { q, k, v }) });
    return { out: cast(engine, out, dtype as Float), stats };
  });
}

/** `attentionBackward` for 16-bit tensors; the gradients have q's dtype. */
export function wideAttentionBackward(
  engine: Engine,
  args: AttentionBackwardInputs & { q: Tensor },
): ReturnType<typeof attentionBackward> {
  const { dtype } = args.q;
  if (dtype === "f32") return attentionBackward(engine, args);
  return engine.scope(() => {
    const { q, k, v, out, dOut } = args;
    const wide = widened(engine, { q, k, v, out, dOut });
    const d = attentionBackward(engine, { ...args, ...wide });
    const narrow = (x: Tensor) => cast(engine, x, dtype as Float);
    return { dQ: narrow(d.dQ), dK: narrow(d.dK), dV: narrow(d.dV) };
  });
}

function widened<K extends string>(engine: Engine, tensors: Record<K, TensorLike>) {
  const wide = Object.entries<TensorLike>(tensors).map(([name, x]) => {
    return [name, x instanceof Tensor && x.dtype !== "f32" ? cast(engine, x, "f32") : x];
  });
  return Object.fromEntries(wide) as Record<K, Tensor>;
}
