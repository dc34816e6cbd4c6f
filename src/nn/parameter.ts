import type { DeviceParameter } from "../contract/index.js";
import type { Tensor } from "../engine/tensor.js";

/** A trainable tensor (f32, bf16 or f16) with the f32 gradient that backward passes add to. */
export class Parameter implements DeviceParameter {
  readonly name: string;
  readonly value: Tensor;
  #grad: Tensor | null = null;

  /** @param value becomes the parameter's */
  constructor(name: string, value: Tensor) {
    this.name = name;
    this.value = value.engine.keep(value);
  }

  /** Made, as zeros, when it is first asked for: a frozen model never pays for it. */
  get grad(): Tensor {
    // One that was made in a pass that failed is gone with it.
    if (this.#grad === null || this.#grad.disposed) {
      const { engine, shape } = this.value;
      this.#grad = engine.keep(engine.zeros(shape));
    }
    return this.#grad;
  }

  /** Frees value and gradient. */
  dispose(): void {
    this.value.dispose();
    this.#grad?.dispose();
    this.#grad = null;
  }
}
