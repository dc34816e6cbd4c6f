import type { Engine } from "../../engine/engine.js";
import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { surrogate } from "../../engine/kernels/surrogate.js";
import { type TokenLossOptions, tokenLoss } from "../../engine/kernels/tokenLoss.js";
import type { Tensor } from "../../engine/tensor.js";
import { logProb as reference } from "../../reference/logProb.js";
import { type CaseOptions, type LogProbCase, makeCase, rowsOf, upload } from "../logProb/cases.js";
import { type BatchShape, type TokenBatch, tokenBatch } from "../surrogate/batch.js";

export const family = "token-loss";

/** Rows of logits, and what a surrogate reads beside their log-probs. */
export interface TokenLossCase {
  rows: LogProbCase;
  /** Its logProb is about that of the logits; no call reads it. */
  tokens: TokenBatch;
  options: TokenLossOptions;
}

export type RowsShape = Partial<Omit<CaseOptions, "tokens" | "masked">>;

/** A batch whose other policies are as near the logits' log-probs as `tokenBatch` has them to its own. */
export function tokenLossCase(
  options: TokenLossOptions,
  shape: BatchShape = {},
  rowsShape: RowsShape = {},
): TokenLossCase {
  const tokens = tokenBatch(options, shape);
  const count = tokens.logProb.length;
  // From 256 logits on the CPU goes over a row once.
  const rows = makeCase({ vocab: 260, ...rowsShape, tokens: count, masked: false });
  rows.mask = tokens.mask ?? null;
  const own = reference(rowsOf({ ...rows, mask: null })).logProb;
  const moved = (of: Float32Array) => of.map((x, t) => own[t]! + x - tokens.logProb[t]!);
  const out: TokenBatch = { ...tokens, logProb: Float32Array.from(own) };
  for (const name of ["oldLogProb", "refLogProb", "samplerLogProb"] as const) {
    const of = tokens[name];
    if (of !== undefined) out[name] = moved(of);
  }
  return { rows, tokens: out, options };
}

/** The arguments of a fused call. */
function argumentsOf({ rows, tokens, options }: TokenLossCase) {
  const { logProb: _, entropy: __, ...inputs } = tokens;
  const columns = rows.padding ? { columns: rows.vocab } : {};
  return {
    inputs: { ...inputs, targets: rows.targets },
    options: { ...options, ...columns, temperature: rows.temperature },
  };
}

/** Every output by name. */
export type Outputs = Readonly<Record<string, Tensor | null>>;

export function fused(engine: Engine, c: TokenLossCase, inPlace = false): Outputs {
  const { inputs, options } = argumentsOf(c);
  const logits = upload(engine, c.rows);
  const out = inPlace ? { dLogits: logits } : {};
  return { ...tokenLoss(engine, { ...inputs, logits }, { ...options, out }) };
}

/** The same by the three calls that it stands for. */
export function separately(engine: Engine, c: TokenLossCase, inPlace = false): Outputs {
  const { inputs, options } = argumentsOf(c);
  const { targets, ...tokens } = inputs;
  const { temperature, columns, entropy = (options.entropyCoefficient ?? 0) !== 0, ...o } = options;
  const logits = upload(engine, c.rows);
  const reading = { temperature, mask: tokens.mask ?? null, columns };
  const scored = logProb(engine, logits, targets, { ...reading, entropy });
  const loss = surrogate(
    engine,
    { ...tokens, logProb: scored.logProb, entropy: scored.entropy },
    o,
  );
  const { dLogProb, dEntropy } = loss;
  const dLogits = logProbBackward(engine, {
    ...{ logits, targets, ...reading, stats: scored.stats, dLogProb, dEntropy },
    entropy: dEntropy === null ? null : scored.entropy,
    ...(inPlace ? { out: logits } : {}),
  });
  return { ...loss, logProb: scored.logProb, entropy: scored.entropy, dLogits };
}
