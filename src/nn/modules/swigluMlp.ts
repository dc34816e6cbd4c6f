import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import { Linear } from "./linear.js";
import type { Module, ParameterSource } from "./module.js";

/** down(silu(gate(x)) * up(x)) (Shazeer 2020). */
export class SwigluMlp implements Module {
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;

  /**
   * @param source makes NAME.gate_proj, up_proj [hidden, width] and down_proj [width, hidden]
   * @param width of what comes in and goes out
   */
  constructor(source: ParameterSource, name: string, width: number, hidden: number) {
    this.gate = new Linear(source, { name: `${name}.gate_proj`, inputs: width, outputs: hidden });
    this.up = new Linear(source, { name: `${name}.up_proj`, inputs: width, outputs: hidden });
    this.down = new Linear(source, {
      name: `${name}.down_proj`,
      inputs: hidden,
      outputs: width,
      role: "residual",
    });
  }

  /** Its weights, in a fixed order. */
  get parameters(): readonly Parameter[] {
    return [this.gate, this.up, this.down].flatMap((linear) => linear.parameters);
  }

  /** x [T, width] to [T, width]. */
  forward(tape: Tape, x: Var): Var {
    const gated = tape.swiglu(this.gate.forward(tape, x), this.up.forward(tape, x));
    return this.down.forward(tape, gated);
  }
}
