import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { logProbBitChecks } from "./bits.js";
import { logProbEdgeChecks } from "./edges.js";
import { logProbGoldenChecks } from "./golden.js";
import { logProbShardChecks } from "./shardChecks.js";
import { logProbValueChecks } from "./values.js";

/** All checks of the family. */
export function logProbChecks(device: Engine["device"]): Check[] {
  return [
    ...logProbGoldenChecks(),
    ...logProbValueChecks(device),
    ...logProbBitChecks(),
    ...logProbEdgeChecks(),
    ...logProbShardChecks(device),
  ];
}
