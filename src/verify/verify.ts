import type { Engine } from "../engine/engine.js";
import { adamwChecks } from "./adamw.js";
import { attentionChecks } from "./attention.js";
import { bernoulliValueChecks } from "./bernoulli.js";
import { bernoulliEdgeChecks } from "./bernoulliEdges.js";
import type { Check } from "./check.js";
import { divergenceValueChecks } from "./divergence.js";
import { divergenceBitChecks } from "./divergenceBits.js";
import { divergenceEdgeChecks } from "./divergenceEdges.js";
import { divergenceGoldenChecks } from "./divergenceGolden.js";
import { elementwiseChecks } from "./elementwise.js";
import { embedChecks } from "./embed.js";
import { flowStepValueChecks } from "./flowStep.js";
import { flowStepEdgeChecks } from "./flowStepEdges.js";
import { gaussianValueChecks } from "./gaussian.js";
import { gaussianEdgeChecks } from "./gaussianEdges.js";
import { goldenChecks } from "./golden.js";
import { groupLossValueChecks } from "./groupLoss.js";
import { groupLossEdgeChecks } from "./groupLossEdges.js";
import { groupLossGoldenChecks } from "./groupLossGolden.js";
import { groupNormValueChecks } from "./groupNorm.js";
import { groupNormBitChecks } from "./groupNormBits.js";
import { groupNormEdgeChecks } from "./groupNormEdges.js";
import { groupNormGoldenChecks } from "./groupNormGolden.js";
import { klChecks } from "./kl.js";
import { linearLogProbValueChecks } from "./linearLogProb.js";
import { linearLogProbBitChecks } from "./linearLogProbBits.js";
import { linearLogProbEdgeChecks } from "./linearLogProbEdges.js";
import { linearLogProbMemoryChecks } from "./linearLogProbMemory.js";
import { logProbBitChecks } from "./logProbBits.js";
import { logProbEdgeChecks } from "./logProbEdges.js";
import { logProbShardChecks } from "./logProbShardChecks.js";
import { logProbValueChecks } from "./logProbValues.js";
import { matmulChecks } from "./matmul.js";
import { rmsNormChecks } from "./rmsNorm.js";
import { ropeChecks } from "./rope.js";
import { rowScoreChecks } from "./rowScore.js";
import { sampleChecks } from "./sample.js";
import { surrogateChecks } from "./surrogate/surrogate.js";
import { swigluChecks } from "./swiglu.js";

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
  /** Told after every check. */
  onCase?: (result: CaseResult, done: number, total: number) => void;
}

/** All checks for a device; the emulated one gets smaller shapes. */
export function checksFor(device: Engine["device"]): Check[] {
  return [
    ...goldenChecks(),
    ...logProbValueChecks(device),
    ...logProbBitChecks(),
    ...logProbEdgeChecks(),
    ...logProbShardChecks(device),
    ...groupNormValueChecks(device),
    ...groupNormBitChecks(device),
    ...groupNormEdgeChecks(),
    ...groupNormGoldenChecks(),
    ...surrogateChecks(device),
    ...klChecks(device),
    ...rowScoreChecks(device),
    ...groupLossGoldenChecks(),
    ...groupLossValueChecks(device),
    ...groupLossEdgeChecks(),
    ...gaussianValueChecks(device),
    ...gaussianEdgeChecks(device),
    ...flowStepValueChecks(device),
    ...flowStepEdgeChecks(device),
    ...bernoulliValueChecks(device),
    ...bernoulliEdgeChecks(device),
    ...linearLogProbValueChecks(device),
    ...linearLogProbBitChecks(device),
    ...linearLogProbEdgeChecks(),
    ...linearLogProbMemoryChecks(device),
    ...divergenceGoldenChecks(),
    ...divergenceValueChecks(device),
    ...divergenceBitChecks(device),
    ...divergenceEdgeChecks(device),
    ...matmulChecks(device),
    ...attentionChecks(device),
    ...rmsNormChecks(),
    ...ropeChecks(),
    ...swigluChecks(),
    ...embedChecks(),
    ...elementwiseChecks(device),
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
  const { filter = "", onCase } = options;
  const checks = checksFor(engine.device).filter(({ family, name }) =>
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
