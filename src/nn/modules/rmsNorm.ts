import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import type { Module, ParameterSource } from "./module.js";

/** Root-mean-square normalisation of rows (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + eps) * weight. */
export class RmsNorm implements Module {
  readonly weight: Parameter;
  readonly eps: number;

  /**
   * @param source makes NAME.weight [width]
   * @param eps inside the root, >= 0
   */
  constructor(source: ParameterSource, name: string, width: number, eps: number) {
    this.weight = source({ name: `${name}.weight`, shape: [width], role: "norm" });
    this.eps = eps;
  }

  /** Its weights, in a fixed order. */
  get parameters(): readonly Parameter[] {
    return [this.weight];
  }

  /** x [..., width] to the same shape. */
  forward(tape: Tape, x: Var): Var {
    return tape.rmsNorm(x, tape.parameter(this.weight), this.eps);
  }

  /** sum = x + residual and y, the norm of that, in one pass; all [..., width]. */
  forwardSum(tape: Tape, x: Var, residual: Var): { sum: Var; y: Var } {
    return tape.addRmsNorm(x, residual, tape.parameter(this.weight), this.eps);
  }
}
