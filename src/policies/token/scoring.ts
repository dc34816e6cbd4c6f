import type {
  DeviceTensor,
  DifferentiableScores,
  PolicyRow,
  ScoreOptions,
} from "../../contract/index.js";
import { checkBoolean, checkKeys, invalid } from "../../engine/checks.js";
import { tensorOf } from "../../engine/device.js";
import { FiresteelError } from "../../engine/error.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { Tape, type Var } from "../../nn/tape.js";
import { packRows } from "./packing.js";
import type { Transformer } from "./transformer.js";

/** Scores with the tape that they stand on. */
export interface TapedScores {
  readonly tape: Tape;
  readonly rowOffsets: Int32Array;
  readonly logProb: Var;
  readonly entropy: Var | null;
  /** Bounds of the packed rows, needed as long as the tape is. */
  readonly tables: Offsets;
}

/**
 * Log-probs of the actions of rows, packed without padding.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_OUT_OF_MEMORY
 */
export function scoreRows(
  model: Transformer,
  rows: readonly PolicyRow[],
  options: ScoreOptions,
  grad: boolean,
): TapedScores {
  checkKeys("options", options, ["temperature", "entropy"]);
  const temperature = options.temperature ?? 1;
  const wantsEntropy = checkBoolean("entropy", options.entropy ?? false);
  const { engine, config } = model;
  const packed = packRows(rows, config);
  const tables = new Offsets(engine, packed.tokenOffsets);
  const tape = new Tape(engine, { grad });
  try {
    const own = (data: Int32Array | Uint8Array) => tape.own(engine.tensor(data));
    const batch = { positions: own(packed.positions), rowOffsets: tables, cache: null };
    const logits = model.forward(tape, own(packed.ids), batch, own(packed.before));
    const scores = tape.logProb(logits, own(packed.targets), {
      temperature,
      mask: packed.mask === null ? null : own(packed.mask),
      entropy: wantsEntropy,
    });
    return { tape, rowOffsets: packed.actionOffsets, tables, ...scores };
  } catch (error) {
    tape.dispose();
    tables.dispose();
    throw error;
  }
}

/** Scores that can be differentiated once. */
export class DifferentiableTokenScores implements DifferentiableScores {
  readonly rowOffsets: Int32Array;
  readonly logProb: Tensor;
  readonly entropy: Tensor | null;
  readonly #scores: TapedScores;
  #ended = false;

  constructor(scores: TapedScores) {
    this.#scores = scores;
    this.rowOffsets = scores.rowOffsets;
    this.logProb = scores.logProb.value;
    this.entropy = scores.entropy?.value ?? null;
  }

  /** @throws FiresteelError ERR_DISPOSED (a second time), ERR_SHAPE, ERR_OPTION */
  backward(gradient: { logProb: DeviceTensor; entropy?: DeviceTensor | null }): void {
    if (this.#ended) {
      throw new FiresteelError("ERR_DISPOSED", "Expected scores that have not been differentiated");
    }
    const { tape, logProb, entropy, tables } = this.#scores;
    const seeds: [Var, Tensor][] = [
      [logProb, seedOf(gradient.logProb, "gradient.logProb", logProb)],
    ];
    if (gradient.entropy != null) {
      const name = "gradient.entropy";
      if (entropy === null) {
        throw invalid("ERR_OPTION", name, "none (no entropy was asked for)", gradient.entropy);
      }
      seeds.push([entropy, seedOf(gradient.entropy, name, entropy)]);
    }
    this.#ended = true;
    try {
      tape.backward(seeds);
    } finally {
      tables.dispose();
    }
  }

  dispose(): void {
    this.#ended = true;
    this.#scores.tape.dispose();
    this.#scores.tables.dispose();
  }
}

/** A gradient as a tape takes it. @throws FiresteelError ERR_SHAPE */
export function seedOf(tensor: DeviceTensor, name: string, { value }: Var): Tensor {
  const seed = tensorOf(tensor, name);
  if (seed.dtype === "f32" && seed.shape.join() === value.shape.join()) return seed;
  throw invalid("ERR_SHAPE", name, `f32 [${value.shape}]`, `${seed.dtype} [${seed.shape}]`);
}
