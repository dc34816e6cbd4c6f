import { checkBoolean, checkChoice, checkKeys, invalid, show } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import { gradientResult } from "./logProb.js";
import { type LogitRowsOptions, logitRows } from "./logProbRows.js";
import {
  checkGroups,
  inputHandles,
  inputNames as lossInputs,
  lossTensors,
  nativeScalars,
  outputHandles,
  resultSpecs,
} from "./surrogate.js";
import type { SurrogateInputs, SurrogateOptions, SurrogateResult } from "./surrogateArguments.js";
import { type Form, forms, type Level, levels } from "./surrogateTable.js";
import {
  advantageUnit,
  type GivenInputs,
  refuse,
  resolveSurrogate,
  optionNames as surrogateOptions,
} from "./surrogateValidation.js";
import { refuseCoupled, refuseOffPolicy } from "./tokenLossTable.js";

/** T tokens of R rows, V logits a token. As `surrogate`, but for what follows from the logits. */
export interface TokenLossInputs extends Omit<SurrogateInputs, "logProb" | "entropy"> {
  /** [T, V] f32, bf16 or f16; V at most 2^20. Rows with mask 0 are not read. */
  logits: TensorLike;
  /** i32 [T]: the token that was taken. */
  targets: TensorLike;
}

/** As `surrogate` and `logProb`. */
export interface TokenLossOptions
  extends SurrogateOptions,
    Pick<LogitRowsOptions, "temperature" | "columns"> {
  /**
   * Also the entropy of each token, with the metrics of it; default: where entropyCoefficient is not 0,
   * which needs it.
   */
  entropy?: boolean;
  /** Written instead of new tensors; `dLogits` may have longer rows, and may be the logits. */
  out?: Out<TokenLossResult>;
}

/** What `tokenLoss` makes: that of `surrogate`, and of `logProb` and its gradient. */
export interface TokenLossResult extends SurrogateResult {
  /** f32 [T]: log-probability of the targets under softmax(logits / temperature). */
  logProb: Tensor;
  /** f32 [T] in nats, or null. */
  entropy: Tensor | null;
  /** [T, V], of the logits' dtype: d loss / d logits; `out`, or a new tensor. Masked rows are 0. */
  dLogits: Tensor;
}

const inputNames = [
  ...["logits", "targets"],
  ...lossInputs.filter((name) => name !== "logProb" && name !== "entropy"),
];
const resultNames: readonly (keyof TokenLossResult)[] = [
  ...(["loss", "dLogProb", "dEntropy", "dRatioBias", "mismatchWeight", "metrics"] as const),
  ...(["logProb", "entropy", "dLogits"] as const),
];
const optionNames = [...surrogateOptions, "temperature", "columns", "entropy", "out"];

/**
 * A training step's loss from its logits: `logProb`, `surrogate` and `logProbBackward` in one call that
 * reads the logits from memory once, for losses whose gradient at a token depends on that token alone:
 * levels "token" and "none", without offPolicyThreshold (`tokenLossTable`). Every output has the bits
 * of the three calls.
 *
 * Each token at fault is reported once, under its row of logits: as `logProb` does, or as not-a-number
 * where the loss leaves it out (`surrogate`). Its gradient is 0.
 *
 * @example
 * const { loss, dLogits } = tokenLoss(
 *   engine,
 *   { logits, targets, oldLogProb, advantage, mask, rowOffsets },
 *   { epsilonHigh: 0.28, aggregation: "token-mean", temperature: 0.8, out: { dLogits: logits } },
 * );
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function tokenLoss(
  engine: Engine,
  args: TokenLossInputs,
  options: TokenLossOptions,
): TokenLossResult {
  checkKeys("inputs", args, inputNames);
  checkKeys("options", options, optionNames);
  const { logits, targets, ...lossArgs } = args;
  const { temperature, columns, entropy, out: given = {}, ...lossOptions } = options;
  const withEntropy = asksForEntropy(entropy, lossOptions.entropyCoefficient);
  checkKeys("out", given, resultNames);
  const marked = { ...lossArgs, entropy: withEntropy ? true : null };
  refuseOthers(marked, lossOptions);
  const o = resolveSurrogate(marked, lossOptions);
  return withInputs(engine, (inputs) => {
    const rows = inputs.offsets("rowOffsets", lossArgs.rowOffsets);
    const groups = inputs.optionalOffsets("groupOffsets", lossArgs.groupOffsets);
    if (groups !== null) checkGroups(groups, rows);
    const z = logitRows(inputs, logits, targets, { temperature, columns, mask: lossArgs.mask });
    const { tokens } = z;
    if (rows.total !== tokens) {
      const expected = `offsets that end at ${tokens} (rows of logits)`;
      throw invalid("ERR_SHAPE", "rowOffsets", expected, rows.total);
    }
    const bounds = { rows, segments: 0, groups: groups?.rows ?? 0 };
    const loss = lossTensors(inputs, lossArgs, bounds, o);
    const { dLogits: gradient, ...others } = given;
    const dLogits = gradientResult(inputs, "out.dLogits", gradient, z);
    const out = inputs.results(others, {
      ...resultSpecs(tokens, o, loss.ratioBias !== null),
      logProb: ["f32", [tokens]],
      entropy: withEntropy ? ["f32", [tokens]] : null,
    });
    engine.addon.tokenLoss(
      engine.handle,
      ...z.arguments,
      tokens,
      rows.rows,
      bounds.segments,
      bounds.groups,
      Float64Array.from(nativeScalars(o), Number),
      handle(rows),
      null,
      handle(groups),
      ...inputHandles({ ...loss, logProb: out.logProb, entropy: out.entropy }),
      ...outputHandles(out),
      handle(out.logProb),
      handle(out.entropy),
      dLogits.shape[1]!,
      handle(dLogits),
    );
    return { ...out, dLogits };
  });
}

function asksForEntropy(entropy: unknown, coefficient: number | undefined): boolean {
  const needed = coefficient !== undefined && coefficient !== 0;
  if (entropy === undefined) return needed;
  if (checkBoolean("entropy", entropy) || !needed) return entropy === true;
  throw invalid("ERR_OPTION", "entropy", "true (entropyCoefficient is not 0)", entropy);
}

/** What surrogate takes and a single token cannot know. */
function refuseOthers(given: GivenInputs, options: SurrogateOptions): void {
  const level = checkChoice("level", options.level ?? "token", Object.keys(levels) as Level[]);
  const form = checkChoice("form", options.form ?? "clip", Object.keys(forms) as Form[]);
  const unit = advantageUnit(given);
  const beside = `form ${show(form)}, level ${show(level)}`;
  refuse("level", level, beside, refuseCoupled(form, level, unit));
  const { offPolicyThreshold } = options;
  if (offPolicyThreshold === undefined) return;
  refuse("offPolicyThreshold", offPolicyThreshold, "tokenLoss", refuseOffPolicy);
}
