import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { linearLogProbBitChecks } from "./bits.js";
import { linearLogProbEdgeChecks } from "./edges.js";
import { linearLogProbMemoryChecks } from "./memory.js";
import { linearLogProbValueChecks } from "./values.js";

/** All checks of the family. */
export function linearLogProbChecks(device: Engine["device"]): Check[] {
  return [
    ...linearLogProbValueChecks(device),
    ...linearLogProbBitChecks(device),
    ...linearLogProbEdgeChecks(),
    ...linearLogProbMemoryChecks(device),
  ];
}
