import type { Engine } from "../../engine/engine.js";
import { Offsets, Slots } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { Tape } from "../../nn/tape.js";
import type { TokenConfig } from "./config.js";
import type { Transformer } from "./transformer.js";

/** Tokens that go through the network together, and what each row sees. T tokens, R rows. */
export interface DecodeBatch {
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  /** [T]: where the keys and values of these tokens are put. */
  readonly slots: Int32Array;
  readonly rowOffsets: Int32Array;
  readonly keyOffsets: Int32Array;
  readonly keyIndex: Int32Array;
  /** [N]: tokens after which logits are wanted. */
  readonly wanted: Int32Array;
}

/** Keys and values of every layer, at slots that are allotted before the first token. */
export class KeyValueCache {
  readonly slots: number;
  readonly #model: Transformer;
  readonly #layers: readonly { key: Tensor; value: Tensor }[];

  /** @throws FiresteelError ERR_OUT_OF_MEMORY */
  constructor(model: Transformer, slots: number) {
    const { engine, config } = model;
    this.slots = slots;
    this.#model = model;
    this.#layers = engine.attempt(() =>
      Array.from({ length: config.numLayers }, () => ({
        key: emptySlots(engine, config, slots),
        value: emptySlots(engine, config, slots),
      })),
    );
  }

  /** Logits [N, vocabSize] after the wanted tokens; the batch's keys and values enter the cache. */
  advance(batch: DecodeBatch): Tensor {
    return this.#model.engine.attempt(() => this.#advance(batch));
  }

  #advance(batch: DecodeBatch): Tensor {
    const { engine } = this.#model;
    const rowOffsets = new Offsets(engine, batch.rowOffsets);
    const keyOffsets = new Offsets(engine, batch.keyOffsets);
    const keyIndex = new Slots(engine, batch.keyIndex, this.slots);
    const tape = new Tape(engine, { grad: false });
    try {
      const own = (data: Int32Array) => tape.own(engine.tensor(data));
      const cache = { layers: this.#layers, slots: own(batch.slots), keyOffsets, keyIndex };
      const logits = this.#model.forward(
        tape,
        own(batch.ids),
        { positions: own(batch.positions), rowOffsets, cache },
        own(batch.wanted),
      );
      return tape.release(logits);
    } finally {
      tape.dispose();
      for (const table of [rowOffsets, keyOffsets, keyIndex]) table.dispose();
    }
  }

  dispose(): void {
    for (const { key, value } of this.#layers) {
      key.dispose();
      value.dispose();
    }
  }
}

function emptySlots(engine: Engine, config: TokenConfig, slots: number): Tensor {
  return engine.keep(engine.empty([slots, config.numKvHeads, config.headDim], config.dtype));
}
