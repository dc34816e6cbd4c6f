import type { DeviceParameter } from "../contract/index.js";
import type { Engine } from "../engine/engine.js";
import { fill } from "../engine/nn/elementwise.js";
import type { Tensor } from "../engine/tensor.js";

/** A trainable tensor (f32) with the gradient that backward passes add to. */
export class Parameter implements DeviceParameter {
  readonly name: string;
  readonly value: Tensor;
  #grad: Tensor | null = null;

  constructor(engine: Engine, name: string, shape: readonly number[], values: Float32Array) {
    this.name = name;
    this.value = engine.keep(engine.tensor(values, shape));
  }

  /** Made, as zeros, when it is first asked for: a frozen model never pays for it. */
  get grad(): Tensor {
    if (this.#grad === null) {
      const { engine, shape } = this.value;
      this.#grad = engine.keep(engine.zeros(shape));
    }
    return this.#grad;
  }

  zeroGrad(): void {
    if (this.#grad !== null) fill(this.value.engine, this.#grad, 0);
  }

  dispose(): void {
    this.value.dispose();
    this.#grad?.dispose();
    this.#grad = null;
  }
}
