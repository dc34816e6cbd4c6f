import { checkKeys } from "../checks.js";
import { dtypes, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * y = silu(gate) * up with silu(x) = x / (1 + exp(-x)) (Shazeer 2020), element by element.
 *
 * @param gate f32, bf16 or f16, any shape
 * @param up as gate
 * @returns as gate
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function swiglu(engine: Engine, gate: TensorLike, up: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const g = inputs.tensor("gate", gate, floats, null);
    const u = inputs.tensor("up", up, g.dtype, g.shape);
    const y = inputs.empty(g.shape, g.dtype);
    const { code } = dtypes[g.dtype];
    engine.addon.swigluForward(engine.handle, code, g.size, handle(g), handle(u), handle(y));
    return y;
  });
}

/** What `swigluBackward` takes. */
export interface SwigluBackwardInputs {
  /** Of the forward call. */
  gate: TensorLike;
  up: TensorLike;
  /** As gate: gradient with respect to y. */
  dY: TensorLike;
}

/**
 * Gradients with respect to gate and up.
 *
 * @throws FiresteelError as `swiglu`
 */
export function swigluBackward(
  engine: Engine,
  args: SwigluBackwardInputs,
): { dGate: Tensor; dUp: Tensor } {
  checkKeys("the argument", args, ["gate", "up", "dY"]);
  return withInputs(engine, (inputs) => {
    const gate = inputs.tensor("gate", args.gate, floats, null);
    const { shape, dtype } = gate;
    const up = inputs.tensor("up", args.up, dtype, shape);
    const dY = inputs.tensor("dY", args.dY, dtype, shape);
    const out = { dGate: inputs.empty(shape, dtype), dUp: inputs.empty(shape, dtype) };
    engine.addon.swigluBackward(
      engine.handle,
      dtypes[dtype].code,
      gate.size,
      handle(gate),
      handle(up),
      handle(dY),
      handle(out.dGate),
      handle(out.dUp),
    );
    return out;
  });
}
