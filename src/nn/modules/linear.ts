import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import type { Module, ParameterSource, WeightRole } from "./module.js";

export interface LinearOptions {
  name: string;
  inputs: number;
  outputs: number;
  bias?: boolean;
  /** "residual" where the output is added to the residual stream. */
  role?: WeightRole;
}

/** y = x W^T + b with W [outputs, inputs]. */
export class Linear implements Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(source: ParameterSource, options: LinearOptions) {
    const { name, inputs, outputs, bias = false, role = "projection" } = options;
    this.weight = source({ name: `${name}.weight`, shape: [outputs, inputs], role });
    this.bias = bias ? source({ name: `${name}.bias`, shape: [outputs], role: "bias" }) : null;
  }

  get parameters(): readonly Parameter[] {
    return this.bias === null ? [this.weight] : [this.weight, this.bias];
  }

  /** x [T, inputs] to [T, outputs]. */
  forward(tape: Tape, x: Var): Var {
    const y = tape.matmul(x, tape.parameter(this.weight), { transposeB: true });
    return this.bias === null ? y : tape.addBias(y, tape.parameter(this.bias));
  }
}
