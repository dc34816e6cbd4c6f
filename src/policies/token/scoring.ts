import type {
  DifferentiableScores,
  PolicyRow,
  ScoreGradient,
  ScoringOptions,
} from "../../contract/index.js";
import { checkBoolean, checkKeys } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { Tape, type Var } from "../../nn/tape.js";
import { seedsOf } from "../scoreGradient.js";
import { packRows } from "./packing.js";
import type { Transformer } from "./transformer.js";

/** Scores with the tape that they stand on. */
export interface TapedScores {
  readonly tape: Tape;
  readonly rowOffsets: Int32Array;
  readonly logProb: Var;
  readonly entropy: Var | null;
  readonly value: Var | null;
  readonly logits: Var | null;
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
  options: ScoringOptions,
  grad: boolean,
): TapedScores {
  checkKeys("options", options, ["temperature", "entropy", "value", "logits"]);
  const temperature = options.temperature ?? 1;
  const wants = (name: "entropy" | "value" | "logits") =>
    checkBoolean(name, options[name] ?? false);
  const [entropy, value, logits] = [wants("entropy"), wants("value"), wants("logits")];
  const { engine, config } = model;
  const packed = packRows(rows, config);
  return engine.attempt(() => {
    const tables = new Offsets(engine, packed.tokenOffsets);
    const tape = new Tape(engine, { grad });
    const own = (data: Int32Array | Uint8Array) => tape.own(engine.tensor(data));
    const batch = { positions: own(packed.positions), rowOffsets: tables, cache: null };
    const [ids, before] = [own(packed.ids), own(packed.before)];
    const outputs = value
      ? model.forwardBoth(tape, ids, batch, before)
      : { logits: model.forward(tape, ids, batch, before), value: null };
    const scores = tape.logProb(outputs.logits, own(packed.targets), {
      temperature,
      mask: packed.mask === null ? null : own(packed.mask),
      entropy,
    });
    const extra = { value: outputs.value, logits: logits ? outputs.logits : null };
    return { tape, rowOffsets: packed.actionOffsets, tables, ...scores, ...extra };
  });
}

/** Scores that can be differentiated once. */
export class DifferentiableTokenScores implements DifferentiableScores {
  readonly rowOffsets: Int32Array;
  readonly logProb: Tensor;
  readonly entropy: Tensor | null;
  readonly value: Tensor | null;
  readonly logits: Tensor | null;
  readonly #scores: TapedScores;
  #ended = false;

  constructor(scores: TapedScores) {
    this.#scores = scores;
    this.rowOffsets = scores.rowOffsets;
    this.logProb = scores.logProb.value;
    this.entropy = scores.entropy?.value ?? null;
    this.value = scores.value?.value ?? null;
    this.logits = scores.logits?.value ?? null;
  }

  /** @throws FiresteelError ERR_DISPOSED (a second time), ERR_SHAPE, ERR_OPTION */
  backward(gradient: ScoreGradient): void {
    if (this.#ended) {
      throw new FiresteelError("ERR_DISPOSED", "Expected scores that have not been differentiated");
    }
    const { tape, tables } = this.#scores;
    const seeds = seedsOf(gradient, { ...this.#scores, mean: null });
    this.#ended = true;
    try {
      tape.engine.attempt(() => tape.backward(seeds));
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
