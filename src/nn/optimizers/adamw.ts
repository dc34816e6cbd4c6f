import type { DeviceParameter } from "../../contract/index.js";
import { checkKeys, checkNumber } from "../../engine/checks.js";
import { tensorOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { FiresteelError } from "../../engine/error.js";
import { type AdamwTensors, adamw, sumSquares } from "../../engine/nn/adamw.js";
import { cast, fill } from "../../engine/nn/elementwise.js";
import type { Tensor } from "../../engine/tensor.js";
import type { StoredTensor } from "../safetensors.js";

/** The optimiser's constants. */
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

/** What the optimiser keeps of a parameter; f32. */
interface State {
  m: Tensor;
  v: Tensor;
  /** The exact value of a 16-bit parameter. */
  master?: Tensor;
}

/** The tensors of a state in the order of checkpoints. */
const kinds = ["m", "v", "master"] as const;

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019), clipping by the global norm on the
 * device. A step whose norm is not finite changes neither parameters nor moments.
 *
 * Of parameters in 16 bits it keeps float32 masters: they take the step, and the parameters are rounded
 * from them. The masters are those of the parameters' values when the optimiser is made, or of the
 * state that is loaded: whoever writes other weights afterwards needs a new optimiser.
 */
export class AdamW {
  readonly #engine: Engine;
  readonly #parameters: readonly DeviceParameter[];
  readonly #options: Required<AdamWOptions> & { maxGradNorm: number };
  readonly #states: readonly State[];
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
    [this.#states, this.#gradSquare] = engine.attempt(() => {
      const states = parameters.map(({ name, value: { shape, dtype }, value }) => ({
        m: zeros(shape),
        v: zeros(shape),
        ...(dtype === "f32"
          ? {}
          : { master: engine.keep(cast(engine, tensorOf(value, name), "f32")) }),
      }));
      return [states, engine.keep(engine.zeros([1], "f64"))];
    });
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
    const all = this.#parameters.map(({ name, value, grad }, i) => ({
      param: tensorOf(value, name),
      grad: tensorOf(grad, name),
      ...this.#states[i]!,
    }));
    sumSquares(
      engine,
      all.map(({ grad }) => grad),
      this.#gradSquare,
    );
    for (const { decays, tensors } of alike(all)) {
      adamw(engine, {
        tensors,
        lr,
        beta1: betas[0],
        beta2: betas[1],
        eps,
        weightDecay: decays ? weightDecay : 0,
        step: this.#steps,
        gradSquare: this.#gradSquare,
        maxGradNorm,
      });
    }
    this.#normKnown = true;
  }

  /** Sets every parameter's gradient to 0. */
  zeroGrad(): void {
    for (const { name, grad } of this.#parameters) fill(this.#engine, tensorOf(grad, name), 0);
  }

  /** Global norm of the last step's gradients before clipping; null before the first step. */
  async gradNorm(): Promise<number | null> {
    if (!this.#normKnown) return null;
    const [square] = await this.#gradSquare.read();
    return Math.sqrt(square!);
  }

  /**
   * Everything that the next step depends on, for a checkpoint: "step", "m.NAME", "v.NAME", and
   * "master.NAME" of 16-bit parameters.
   */
  async state(): Promise<Map<string, StoredTensor>> {
    const state = new Map<string, StoredTensor>();
    state.set("step", { dtype: "i32", shape: [1], data: Int32Array.of(this.#steps) });
    // All reads are enqueued before the first wait: a step in between cannot split the state.
    const reads = this.#tensors().map(async ([name, tensor]) => {
      const data = await tensor.read();
      return [name, { dtype: "f32", shape: tensor.shape, data }] as const;
    });
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
    const tensors = this.#tensors();
    const values = tensors.map(([name, { shape }]) => take(name, "f32", shape));
    if (state.size !== 1 + values.length) {
      throw new FiresteelError(
        "ERR_CHECKPOINT",
        `Expected ${1 + values.length} tensors in the optimiser state but found ${state.size}`,
      );
    }
    for (const [i, [, tensor]] of tensors.entries()) tensor.write(values[i]!);
    this.#steps = steps;
    this.#normKnown = false;
  }

  /** Frees the moments and masters; the parameters stay. */
  dispose(): void {
    for (const [, tensor] of this.#tensors()) tensor.dispose();
    this.#gradSquare.dispose();
  }

  /** What the optimiser keeps, by its name in a checkpoint. */
  #tensors(): [name: string, tensor: Tensor][] {
    return this.#parameters.flatMap(({ name }, i) =>
      kinds.flatMap((kind): [string, Tensor][] => {
        const tensor = this.#states[i]![kind];
        return tensor === undefined ? [] : [[`${kind}.${name}`, tensor]];
      }),
    );
  }
}

/** Parameters that one call can step: of one dtype, and of two or more dimensions (which decay) or not. */
function alike(all: readonly AdamwTensors[]): { decays: boolean; tensors: AdamwTensors[] }[] {
  const groups = new Map<string, { decays: boolean; tensors: AdamwTensors[] }>();
  for (const one of all) {
    const decays = one.param.shape.length >= 2;
    const key = `${one.param.dtype} ${decays}`;
    if (!groups.has(key)) groups.set(key, { decays, tensors: [] });
    groups.get(key)!.tensors.push(one);
  }
  return [...groups.values()];
}
