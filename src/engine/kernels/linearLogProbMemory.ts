import { checkChoice, checkInteger, checkKeys } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine } from "../engine.js";
import { chooseAddon, wantedDevice } from "../loader.js";
import { type OperandType, operandTypes } from "./linearLogProbTable.js";
import { MAX_VOCAB } from "./logProbRows.js";

export const MAX_TOKENS = 2 ** 31 - 1;
/** The largest width of a hidden state. */
export const MAX_HIDDEN = 2 ** 20;

/** A call whose memory is asked for, before it is made. */
export interface LinearLogProbShape {
  /** T, V and H: rows, vocabulary, width of a hidden state. */
  tokens: number;
  vocab: number;
  hidden: number;
  /** Of hidden states and weight. */
  dtype: OperandType;
  /** As in the calls. */
  chunkBytes?: number;
  /** As in `EngineOptions`; default "auto". */
  device?: "auto" | Engine["device"];
}

/**
 * Bytes of the engine's memory that each call takes beyond the tensors that go in and come out, while
 * it runs; 256 of them, its report of faults, live as long as its results.
 *
 * @throws FiresteelError ERR_RANGE, ERR_OPTION, ERR_NO_DEVICE
 *
 * @example
 * const shape = { tokens: 1024, vocab: 151_936, hidden: 896, dtype: "bf16" } as const;
 * linearLogProbMemory({ ...shape, device: "cpu" }).forward; // 41,943,296
 */
export function linearLogProbMemory(shape: LinearLogProbShape): {
  forward: number;
  backward: number;
} {
  checkKeys("shape", shape, ["tokens", "vocab", "hidden", "dtype", "chunkBytes", "device"]);
  const tokens = checkInteger("tokens", shape.tokens, 0, MAX_TOKENS);
  const vocab = checkInteger("vocab", shape.vocab, 1, MAX_VOCAB);
  const hidden = checkInteger("hidden", shape.hidden, 1, MAX_HIDDEN);
  const dtype = checkChoice("dtype", shape.dtype, Object.keys(operandTypes) as OperandType[]);
  const { linearLogProbMemory: memory } = chooseAddon(wantedDevice(shape.device));
  const sizes = [tokens, vocab, hidden, dtypes[dtype].code] as const;
  const chunk = checkChunk(shape.chunkBytes, memory(...sizes, 0).least);
  const { forward, backward } = memory(...sizes, chunk);
  return { forward, backward };
}

/** @internal 0 stands for the default. */
export function checkChunk(chunkBytes: number | undefined, least: number): number {
  if (chunkBytes === undefined) return 0;
  return checkInteger("chunkBytes", chunkBytes, Math.max(1, least), Number.MAX_SAFE_INTEGER);
}
