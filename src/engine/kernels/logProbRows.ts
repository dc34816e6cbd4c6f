import type { TensorHandle } from "../addon.js";
import { checkBoolean, checkInteger, checkNumber, invalid } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { TensorLike } from "../engine.js";
import { handle, type Inputs, type Out } from "../inputs.js";
import { Tensor } from "../tensor.js";
import { logitTypes } from "./logProbTable.js";

/** The largest vocabulary of a row. */
export const MAX_VOCAB = 2 ** 20;
const MIN_TEMPERATURE = 1e-30;
const MAX_TEMPERATURE = 1e30;

const floats = Object.keys(logitTypes) as (keyof typeof logitTypes)[];

/** How rows of logits are read. */
export interface LogitRowsOptions {
  /**
   * Divides the logits: one number, or f32 [T], one a row. Each in [1e-30, 1e30], default 1. Data on
   * the host is checked at once; a tensor's value out of range is a fault of its row.
   */
  temperature?: number | TensorLike;
  /** u8 [T]: rows with 0 are not read, their outputs are 0. */
  mask?: TensorLike | null;
  /**
   * The first so many columns are the vocabulary, those after them the padding of a head; it is
   * neither read nor written. Default: all.
   */
  columns?: number;
}

/** What `logProb` makes: T rows. */
export interface LogProbResult {
  /** f32 [T]: log-probability of the target under softmax(logits / temperature). */
  logProb: Tensor;
  /** f32 [T] in nats, or null when not asked for. */
  entropy: Tensor | null;
  /** f32 [T]: mean(z) - logsumexp(z), -inf where a logit is -inf; or null when not asked for. */
  vocabMean: Tensor | null;
  /** f32 [T, 2]: maximum and log2 of the sum relative to it, which the backward pass needs. */
  stats: Tensor;
}

/** Checked rows of logits, and the positional arguments that stand for them. */
export interface LogitRows {
  tokens: number;
  /** Columns that count. */
  columns: number;
  dtype: (typeof floats)[number];
  logits: Tensor;
  arguments: (number | TensorHandle | null)[];
}

/** Checks what every call that reads logits is given. */
export function logitRows(
  inputs: Inputs,
  logits: TensorLike,
  targets: TensorLike,
  options: LogitRowsOptions,
): LogitRows {
  const z = inputs.tensor("logits", logits, floats, [null, null]);
  const [tokens, stride] = z.shape as [number, number];
  if (options.columns !== undefined) checkInteger("columns", options.columns, 1, stride);
  const columns = options.columns ?? stride;
  const name = options.columns === undefined ? "logits.shape[1] (vocabulary)" : "columns";
  checkInteger(name, columns, 1, MAX_VOCAB);
  const temperature = rowTemperature(inputs, options.temperature, tokens);
  const y = inputs.tensor("targets", targets, "i32", [tokens]);
  const mask = inputs.optional("mask", options.mask, "u8", [tokens]);
  return {
    tokens,
    columns,
    dtype: z.dtype as (typeof floats)[number],
    logits: z,
    arguments: [
      tokens,
      columns,
      stride,
      dtypes[z.dtype].code,
      temperature.scalar,
      handle(temperature.rows),
      handle(z),
      handle(y),
      handle(mask),
    ],
  };
}

/** What is asked for beside the log-probs. */
export function checkExtras(options: { entropy?: boolean; vocabMean?: boolean }) {
  return {
    entropy: checkBoolean("entropy", options.entropy ?? false),
    vocabMean: checkBoolean("vocabMean", options.vocabMean ?? false),
  };
}

/** The results that were asked for. */
export function outputs(
  inputs: Inputs,
  tokens: number,
  asked: { entropy: boolean; vocabMean: boolean },
  out: Out<LogProbResult> | undefined,
): LogProbResult {
  return inputs.results(out, {
    logProb: ["f32", [tokens]],
    entropy: asked.entropy ? ["f32", [tokens]] : null,
    vocabMean: asked.vocabMean ? ["f32", [tokens]] : null,
    stats: ["f32", [tokens, 2]],
  });
}

/** In the order of the native call. */
export function outputHandles(out: LogProbResult): (TensorHandle | null)[] {
  return [handle(out.logProb), handle(out.entropy), handle(out.vocabMean), handle(out.stats)];
}

/** One temperature: both it and its inverse must be ordinary floats. */
export function checkTemperature(temperature: unknown = 1): number {
  return checkNumber("temperature", temperature, MIN_TEMPERATURE, MAX_TEMPERATURE);
}

/** One for all rows, or one a row. */
export function rowTemperature(
  inputs: Inputs,
  value: number | TensorLike | undefined,
  tokens: number,
): { scalar: number; rows: Tensor | null } {
  if (value === undefined || typeof value === "number") {
    return { scalar: checkTemperature(value), rows: null };
  }
  const rows = inputs.tensor("temperature", value, "f32", [tokens]);
  if (!(value instanceof Tensor)) checkTemperatures(value);
  return { scalar: 1, rows };
}

function checkTemperatures(values: Exclude<TensorLike, Tensor>): void {
  // The limits themselves, as floats, are in range.
  const [low, high] = [Math.fround(MIN_TEMPERATURE), Math.fround(MAX_TEMPERATURE)];
  for (let t = 0; t < values.length; ++t) {
    const value = Math.fround(values[t]!);
    if (value >= low && value <= high) continue;
    const expected = `a number in [${MIN_TEMPERATURE}, ${MAX_TEMPERATURE}]`;
    throw invalid("ERR_RANGE", `temperature[${t}]`, expected, values[t]);
  }
}
