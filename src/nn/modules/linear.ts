import type { Float } from "../../engine/dtype.js";
import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import type { Module, ParameterSource, WeightRole } from "./module.js";

/** Name and sizes of a projection; `bias` is off by default. */
export interface LinearOptions {
  name: string;
  inputs: number;
  outputs: number;
  bias?: boolean;
  /** "residual" where the output is added to the residual stream, "value" where it estimates values. */
  role?: WeightRole;
  /** Of the output; default the input's. */
  dtype?: Float;
}

/** y = x W^T + b with W [outputs, inputs]. */
export class Linear implements Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #dtype: Float | undefined;

  constructor(source: ParameterSource, options: LinearOptions) {
    const { name, inputs, outputs, bias = false, role = "projection" } = options;
    this.weight = source({ name: `${name}.weight`, shape: [outputs, inputs], role });
    this.bias = bias ? source({ name: `${name}.bias`, shape: [outputs], role: "bias" }) : null;
    this.#dtype = options.dtype;
  }

  /** Its weights, in a fixed order. */
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
