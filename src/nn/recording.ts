import type { Float } from "../engine/dtype.js";
import type { Engine } from "../engine/engine.js";
import { add, cast } from "../engine/nn/elementwise.js";
import type { Tensor } from "../engine/tensor.js";
import type { Parameter } from "./parameter.js";

/** A value on a tape. */
export class Var {
  readonly value: Tensor;
  /** Its value was made on the tape. */
  readonly intermediate: boolean;
  /** Whether a gradient is wanted for it. */
  readonly differentiable: boolean;
  /** d objective / d value so far; null where nothing has arrived. */
  grad: Tensor | null;
  /** Of the gradient: f32 for a parameter, else the value's. */
  readonly gradType: Float;
  /** Others may see the gradient's memory: it must not be written to. */
  gradShared = false;
  /** How many operations read it. */
  uses = 0;

  constructor(value: Tensor, intermediate: boolean, differentiable: boolean, grad: Tensor | null) {
    this.value = value;
    this.intermediate = intermediate;
    this.differentiable = differentiable;
    this.grad = grad;
    this.gradType = intermediate ? (value.dtype as Float) : "f32";
  }
}

interface Step {
  outputs: readonly Var[];
  saved: readonly Tensor[];
  backward: (() => void) | null;
}

/**
 * What a tape is made of: the operations done so far, each with the tensors it made and a closure
 * that turns the gradients of its outputs into those of its inputs. Owns every tensor made on it.
 */
export class Recording {
  readonly engine: Engine;
  /** false: nothing is kept for a backward pass. */
  readonly grad: boolean;
  #steps: Step[] = [];

  constructor(engine: Engine, grad: boolean) {
    this.engine = engine;
    this.grad = grad;
  }

  /** A tensor that stays the caller's and gets no gradient. */
  constant(value: Tensor): Var {
    return new Var(value, false, false, null);
  }

  /** A parameter; its gradient is added to `parameter.grad`. */
  parameter(parameter: Parameter): Var {
    return new Var(parameter.value, false, this.grad, this.grad ? parameter.grad : null);
  }

  /** Hands a tensor over, to be freed with the tape. */
  own(tensor: Tensor): Tensor {
    this.engine.keep(tensor);
    this.#steps.push({ outputs: [], saved: [tensor], backward: null });
    return tensor;
  }

  /**
   * Runs `fn`; without gradients, frees what it made except for the values it returns.
   */
  scope<V extends Var | readonly Var[]>(fn: () => V): V {
    if (this.grad) return fn();
    const begin = this.#steps.length;
    const result = fn();
    const wanted: readonly Var[] = result instanceof Var ? [result] : (result as readonly Var[]);
    for (const step of this.#steps.splice(begin)) {
      const kept = step.outputs.filter((output) => wanted.includes(output));
      free({ ...step, outputs: step.outputs.filter((output) => !kept.includes(output)) });
      if (kept.length > 0) this.#steps.push({ outputs: kept, saved: [], backward: null });
    }
    return result;
  }

  /** Takes a value's tensor out of the tape: it is the caller's from now on. */
  release(v: Var): Tensor {
    for (const step of this.#steps) {
      if (step.outputs.includes(v)) step.outputs = step.outputs.filter((output) => output !== v);
    }
    return v.value;
  }

  /**
   * Reverse pass from the given gradients (which stay the caller's). Adds to the gradients of the
   * parameters and frees everything on the tape.
   */
  backward(seeds: readonly (readonly [Var, Tensor])[]): void {
    try {
      for (const [v, gradient] of seeds) this.share(v, gradient);
      for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
        try {
          if (step.outputs.some((output) => output.grad !== null)) step.backward?.();
        } finally {
          free(step);
        }
      }
    } finally {
      this.dispose();
    }
  }

  /** Frees everything on the tape without a backward pass. */
  dispose(): void {
    for (const step of this.#steps) free(step);
    this.#steps = [];
  }

  /**
   * Records an operation.
   * @param saved tensors that only the backward pass reads
   * @param backward reads the outputs' gradients, calls `accumulate` on differentiable inputs
   */
  protected record<N extends readonly [Tensor, ...Tensor[]]>(
    inputs: readonly Var[],
    values: N,
    saved: readonly Tensor[],
    backward: (...outputs: { [K in keyof N]: Var }) => void,
  ): { [K in keyof N]: Var } {
    const differentiable = this.grad && inputs.some((input) => input.differentiable);
    for (const input of inputs) ++input.uses;
    for (const tensor of [...values, ...saved]) this.engine.keep(tensor);
    const outputs = values.map((value) => new Var(value, true, differentiable, null)) as {
      [K in keyof N]: Var;
    };
    if (!this.grad) for (const tensor of saved) tensor.dispose();
    this.#steps.push({
      outputs,
      saved: this.grad ? saved : [],
      backward: differentiable ? () => backward(...outputs) : null,
    });
    return outputs;
  }

  /** Adds `d`, which becomes the tape's, to a variable's gradient, in the type of that. */
  protected accumulate(v: Var, given: Tensor): void {
    let d = this.engine.keep(given);
    if (d.dtype !== v.gradType) {
      d = this.engine.keep(cast(this.engine, given, v.gradType));
      given.dispose();
    }
    if (v.grad === null) {
      v.grad = d;
    } else if (v.gradShared) {
      const sum = this.engine.keep(add(this.engine, v.grad, d));
      v.grad.dispose();
      d.dispose();
      v.grad = sum;
      v.gradShared = false;
    } else {
      add(this.engine, v.grad, d, { out: v.grad });
      d.dispose();
    }
  }

  /** Adds `d`, which stays somebody else's, to a variable's gradient. */
  protected share(v: Var, d: Tensor): void {
    if (d.dtype !== v.gradType) {
      this.accumulate(v, cast(this.engine, d, v.gradType));
    } else if (v.grad === null) {
      v.grad = this.engine.keep(d.view(v.value.shape));
      v.gradShared = true;
    } else if (v.gradShared) {
      this.accumulate(v, this.engine.keep(d.view(v.value.shape)));
    } else {
      add(this.engine, v.grad, d, { out: v.grad });
    }
  }

  /** Adds in place, by `add(gradient)`, in float32: to the gradient itself where it is f32. */
  protected addInPlace(v: Var, add: (gradient: Tensor) => void): void {
    const { engine } = this;
    if (v.gradType !== "f32") {
      const sum = engine.zeros(v.value.shape);
      add(sum);
      this.accumulate(v, sum);
      return;
    }
    if (v.grad === null) v.grad = engine.keep(engine.zeros(v.value.shape));
    else if (v.gradShared) this.accumulate(v, engine.zeros(v.value.shape));
    add(v.grad);
  }
}

function free(step: Step): void {
  for (const output of step.outputs) {
    output.value.dispose();
    output.grad?.dispose();
    output.grad = null;
  }
  for (const tensor of step.saved) tensor.dispose();
}
