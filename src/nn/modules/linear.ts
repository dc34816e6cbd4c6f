import type { Float } from "../../engine/dtype.js";
import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import type { Module, ParameterSource, WeightRole } from "./module.js";

/** Name and sizes of a projection; `bias` is off by default. */
export interface LinearOptions {
  /** Of its parameters: NAME.weight [outputs, inputs], NAME.bias [outputs]. */
  name: string;
  inputs: number;
  outputs: number;
  /** Default false. */
  bias?: boolean;
  /** "residual" where the output is added to the residual stream, "value" where it estimates values. */
  role?: WeightRole;
  /** Of the output; default the input's. */
  dtype?: Float;
}

/**
 * y = x W^T + b with W [outputs, inputs].
 *
 * @example
 * const linear = new Linear(source, { name: "inner", inputs: 64, outputs: 128, bias: true });
 * const y = linear.forward(tape, x); // x [T, 64], y [T, 128]
 */
export class Linear implements Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #dtype: Float | undefined;

  /** @param source makes the parameters: fresh, loaded or copied */
  constructor(source: ParameterSource, options: LinearOptions) {
    const { name, inputs, outputs, bias = false, role = "projection" } = options;
    this.weight = source({ name: `${name}.weight`, shape: [outputs, inputs], role });
    this.bias = bias ? source({ name: `${name}.bias`, shape: [outputs], role: "bias" }) : null;
    this.#dtype = options.dtype;
  }

  /** The weight, and the bias where there is one. */
  get parameters(): readonly Parameter[] {
    return this.bias === null ? [this.weight] : [this.weight, this.bias];
  }

  /** x [T, inputs] to [T, outputs]. */
  forward(tape: Tape, x: Var): Var {
    const how = { transposeB: true, dtype: this.#dtype };
    const y = tape.matmul(x, tape.parameter(this.weight), how);
    return this.bias === null ? y : tape.addBias(y, tape.parameter(this.bias));
  }
}
