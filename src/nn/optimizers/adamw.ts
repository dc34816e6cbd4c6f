import type { DeviceParameter } from "../../contract/index.js";
import { checkKeys, checkNumber } from "../../engine/checks.js";
import { tensorOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { FiresteelError } from "../../engine/error.js";
import { adamw, sumSquares } from "../../engine/nn/adamw.js";
import { fill } from "../../engine/nn/elementwise.js";
import type { Tensor } from "../../engine/tensor.js";
import type { StoredTensor } from "../safetensors.js";

export interface AdamWOptions {
  /** Decay of the moments, each in [0, 1); default [0.9, 0.95]. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment; > 0, default 1e-8. */
  eps?: number;
  /** Decoupled decay of parameters with two or more dimensions (not norms and biases); default 0. */
  weightDecay?: number;
  /** Gradients are scaled down to this global norm; > 0, default null: no clipping. */
  maxGradNorm?: number | null;
}

interface Moments {
  m: Tensor;
  v: Tensor;
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019), clipping by the global norm on the
 * device. A step whose norm is not finite changes neither parameters nor moments.
 */
export class AdamW {
  readonly #engine: Engine;
  readonly #parameters: readonly DeviceParameter[];
  readonly #options: Required<AdamWOptions> & { maxGradNorm: number };
  readonly #moments: readonly Moments[];
  /** f64 [1]: squared global norm of the last step's gradients. */
  readonly #gradSquare: Tensor;
  #steps = 0;
  #normKnown = false;

  /** @throws FiresteelError ERR_OPTION, ERR_RANGE, ERR_OUT_OF_MEMORY */
  constructor(engine: Engine, parameters: readonly DeviceParameter[], options: AdamWOptions = {}) {
    checkKeys("options", options, ["betas", "eps", "weightDecay", "maxGradNorm"]);
    // Without clipping the bound is out of reach, and norms that are not finite are still caught.
    const { betas = [0.9, 0.95], eps = 1e-8, weightDecay = 0 } = options;
    const maxGradNorm = options.maxGradNorm ?? 1e38;
    for (const i of [0, 1]) checkNumber(`betas[${i}]`, betas[i], 0, 1 - 2 ** -24);
    checkNumber("eps", eps, 1e-37, 1e30);
    checkNumber("weightDecay", weightDecay, 0, 1e30);
    checkNumber("maxGradNorm", maxGradNorm, 1e-37, 1e38);
    this.#engine = engine;
    this.#parameters = parameters;
    this.#options = { betas, eps, weightDecay, maxGradNorm };
    const zeros = (shape: readonly number[]) => engine.keep(engine.zeros(shape));
    this.#moments = parameters.map(({ value }) => ({
      m: zeros(value.shape),
      v: zeros(value.shape),
    }));
    this.#gradSquare = engine.keep(engine.zeros([1], "f64"));
  }

  /** Steps taken, those of a loaded state included. */
  get steps(): number {
    return this.#steps;
  }

  /**
   * One update from the accumulated gradients, which stay as they are.
   * @param lr learning rate, >= 0
   */
  step(lr: number): void {
    const engine = this.#engine;
    const { betas, eps, weightDecay, maxGradNorm } = this.#options;
    checkNumber("lr", lr, 0, 1e30);
    ++this.#steps;
    this.#gradSquare.write([0]);
    for (const { name, grad } of this.#parameters) {
      sumSquares(engine, tensorOf(grad, name), this.#gradSquare);
    }
    for (const [i, { name, value, grad }] of this.#parameters.entries()) {
      adamw(engine, {
        param: tensorOf(value, name),
        grad: tensorOf(grad, name),
        ...this.#moments[i]!,
        lr,
        beta1: betas[0],
        beta2: betas[1],
        eps,
        weightDecay: value.shape.length >= 2 ? weightDecay : 0,
        step: this.#steps,
        gradSquare: this.#gradSquare,
        maxGradNorm,
      });
    }
    this.#normKnown = true;
  }

  zeroGrad(): void {
    for (const { name, grad } of this.#parameters) fill(this.#engine, tensorOf(grad, name), 0);
  }

  /** Global norm of the last step's gradients before clipping; null before the first step. */
  async gradNorm(): Promise<number | null> {
    if (!this.#normKnown) return null;
    const [square] = await this.#gradSquare.read();
    return Math.sqrt(square!);
  }

  /** Everything that the next step depends on, for a checkpoint: "step", "m.NAME" and "v.NAME". */
  async state(): Promise<Map<string, StoredTensor>> {
    const state = new Map<string, StoredTensor>();
    state.set("step", { dtype: "i32", shape: [1], data: Int32Array.of(this.#steps) });
    // All reads are enqueued before the first wait: a step in between cannot split the state.
    const reads = this.#parameters.flatMap(({ name }, i) =>
      (["m", "v"] as const).map(async (kind) => {
        const tensor = this.#moments[i]![kind];
        const data = await tensor.read();
        return [`${kind}.${name}`, { dtype: "f32", shape: tensor.shape, data }] as const;
      }),
    );
    for (const [name, tensor] of await Promise.all(reads)) state.set(name, tensor);
    return state;
  }

  /**
   * Continues from a state that `state()` gave.
   * @throws FiresteelError ERR_CHECKPOINT where it is another network's; nothing is changed then
   */
  load(state: ReadonlyMap<string, StoredTensor>): void {
    const take = (name: string, dtype: string, shape: readonly number[]) => {
      const tensor = state.get(name);
      if (tensor?.dtype !== dtype || tensor.shape.join() !== shape.join()) {
        const came = tensor === undefined ? "nothing" : `${tensor.dtype} [${tensor.shape}]`;
        throw new FiresteelError(
          "ERR_CHECKPOINT",
          `Expected ${dtype} [${shape}] for ${name} of the optimiser state but found ${came}`,
        );
      }
      return tensor.data;
    };
    const steps = take("step", "i32", [1])[0]!;
    if (steps < 0) {
      const message = `Expected a step >= 0 in the optimiser state but found ${steps}`;
      throw new FiresteelError("ERR_CHECKPOINT", message);
    }
    const values = this.#parameters.map(({ name, value: { shape } }) => ({
      m: take(`m.${name}`, "f32", shape),
      v: take(`v.${name}`, "f32", shape),
    }));
    if (state.size !== 1 + 2 * values.length) {
      throw new FiresteelError(
        "ERR_CHECKPOINT",
        `Expected ${1 + 2 * values.length} tensors in the optimiser state but found ${state.size}`,
      );
    }
    for (const [i, { m, v }] of this.#moments.entries()) {
      m.write(values[i]!.m);
      v.write(values[i]!.v);
    }
    this.#steps = steps;
    this.#normKnown = false;
  }

  /** Frees the moments; the parameters stay. */
  dispose(): void {
    for (const { m, v } of this.#moments) {
      m.dispose();
      v.dispose();
    }
    this.#gradSquare.dispose();
  }
}
