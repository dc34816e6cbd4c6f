import { invalid } from "../engine/checks.js";
import type { Engine } from "../engine/engine.js";
import { adamwChecks } from "./adamw.js";
import { attentionChecks } from "./attention/values.js";
import { bernoulliChecks } from "./bernoulli/checks.js";
import type { Check } from "./check.js";
import { divergenceChecks } from "./divergence/checks.js";
import { elementwiseChecks } from "./elementwise.js";
import { embedChecks } from "./embed.js";
import { gaussianChecks } from "./gaussian/checks.js";
import { groupLossChecks } from "./groupLoss/checks.js";
import { groupNormChecks } from "./groupNorm/checks.js";
import { halfPrecisionChecks } from "./halfPrecision.js";
import { klChecks } from "./kl.js";
import { linearLogProbChecks } from "./linearLogProb/checks.js";
import { logProbChecks } from "./logProb/checks.js";
import { matmulChecks } from "./matmul.js";
import { rmsNormChecks } from "./rmsNorm.js";
import { ropeChecks } from "./rope.js";
import { sampleChecks } from "./sample.js";
import { surrogateChecks } from "./surrogate/checks.js";
import { swigluChecks } from "./swiglu.js";
import { tokenLossChecks } from "./tokenLoss/checks.js";

export type { Check } from "./check.js";

export interface CaseResult {
  name: string;
  family: string;
  passed: boolean;
  /** What is wrong, or null. */
  finding: string | null;
}

export interface Verification {
  passed: number;
  failed: number;
  cases: CaseResult[];
}

export interface VerifyOptions {
  /** Only checks whose "family: name" contains it. */
  filter?: string;
  /**
   * The smaller shapes that the emulated device gets, for tools that slow a run down. On the CPU,
   * whose checks take seconds, it is refused. Default false.
   */
  small?: boolean;
  /** Told after every check. */
  onCase?: (result: CaseResult, done: number, total: number) => void;
}

/** All checks for a device; the emulated one gets smaller shapes. */
export function checksFor(device: Engine["device"]): Check[] {
  return [
    ...logProbChecks(device),
    ...linearLogProbChecks(device),
    ...groupNormChecks(device),
    ...surrogateChecks(device),
    ...tokenLossChecks(device),
    ...klChecks(device),
    ...groupLossChecks(device),
    ...divergenceChecks(device),
    ...gaussianChecks(device),
    ...bernoulliChecks(device),
    ...matmulChecks(device),
    ...attentionChecks(device),
    ...rmsNormChecks(),
    ...ropeChecks(),
    ...swigluChecks(),
    ...embedChecks(),
    ...elementwiseChecks(device),
    ...halfPrecisionChecks(),
    ...sampleChecks(device),
    ...adamwChecks(device),
  ];
}

/** Runs one check; what it throws is a finding too. */
export function runCheck(engine: Engine, check: Check): CaseResult {
  const { name, family } = check;
  let finding: string | null;
  try {
    finding = engine.scope(() => check.run(engine));
  } catch (error) {
    finding = `threw ${error instanceof Error ? error.message : String(error)}`;
  }
  return { name, family, passed: finding === null, finding };
}

/**
 * Holds every kernel of this machine's device against float64 references, values worked out by hand,
 * difference quotients and its own bits.
 *
 * @example
 * const { failed, cases } = verify(new Engine({ device: "cpu" }), { filter: "surrogate" });
 */
export function verify(engine: Engine, options: VerifyOptions = {}): Verification {
  const { filter = "", small = false, onCase } = options;
  if (small && engine.device === "cpu") {
    throw invalid(
      "ERR_OPTION",
      "small",
      "a CUDA device, whose checks have smaller shapes",
      "the CPU",
    );
  }
  const checks = checksFor(small ? "emulated" : engine.device).filter(({ family, name }) =>
    `${family}: ${name}`.includes(filter),
  );
  const cases = checks.map((check, i) => {
    const result = runCheck(engine, check);
    onCase?.(result, i + 1, checks.length);
    return result;
  });
  const failed = cases.filter(({ passed }) => !passed).length;
  return { passed: cases.length - failed, failed, cases };
}
