import type { Bench } from "./kernel.js";
import { adamwBench } from "./kernels/adamw.js";
import { attentionBench } from "./kernels/attention.js";
import { divergenceBench } from "./kernels/divergence.js";
import { flowStepBench } from "./kernels/flowStep.js";
import { groupLossBench } from "./kernels/groupLoss.js";
import { groupNormBench } from "./kernels/groupNorm.js";
import { klBench } from "./kernels/kl.js";
import { linearLogProbBench } from "./kernels/linearLogProb.js";
import { logProbBench } from "./kernels/logProb.js";
import { matmulBench } from "./kernels/matmul.js";
import { rmsNormBench } from "./kernels/rmsNorm.js";
import { surrogateBench } from "./kernels/surrogate.js";
import { tokenLossBench } from "./kernels/tokenLoss.js";

/** Every kernel that is timed, in the order of a report. */
export const kernelBenches: readonly Bench[] = [
  logProbBench,
  tokenLossBench,
  linearLogProbBench,
  matmulBench,
  groupNormBench,
  surrogateBench,
  klBench,
  groupLossBench,
  divergenceBench,
  flowStepBench,
  attentionBench,
  rmsNormBench,
  adamwBench,
];
