import { checkKeys } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * y = silu(gate) * up with silu(x) = x / (1 + exp(-x)) (Shazeer 2020), element by element.
 *
 * @param gate f32, any shape
 * @param up f32, same shape
 * @returns f32, same shape
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function swiglu(engine: Engine, gate: TensorLike, up: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const g = inputs.tensor("gate", gate, "f32", null);
    const u = inputs.tensor("up", up, "f32", g.shape);
    const y = inputs.empty(g.shape);
    engine.addon.swigluForward(engine.handle, g.size, handle(g), handle(u), handle(y));
    return y;
  });
}

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
    const gate = inputs.tensor("gate", args.gate, "f32", null);
    const up = inputs.tensor("up", args.up, "f32", gate.shape);
    const dY = inputs.tensor("dY", args.dY, "f32", gate.shape);
    const out = { dGate: inputs.empty(gate.shape), dUp: inputs.empty(gate.shape) };
    engine.addon.swigluBackward(
      engine.handle,
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
