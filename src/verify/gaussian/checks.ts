import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { gaussianEdgeChecks } from "./edges.js";
import { flowStepValueChecks } from "./flowStep.js";
import { flowStepEdgeChecks } from "./flowStepEdges.js";
import { gaussianValueChecks } from "./values.js";

/** All checks of the family. */
export function gaussianChecks(device: Engine["device"]): Check[] {
  return [
    ...gaussianValueChecks(device),
    ...gaussianEdgeChecks(device),
    ...flowStepValueChecks(device),
    ...flowStepEdgeChecks(device),
  ];
}
