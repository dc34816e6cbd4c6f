import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { divergenceBitChecks } from "./bits.js";
import { divergenceEdgeChecks } from "./edges.js";
import { divergenceGoldenChecks } from "./golden.js";
import { divergenceValueChecks } from "./values.js";

/** All checks of the family. */
export function divergenceChecks(device: Engine["device"]): Check[] {
  return [
    ...divergenceGoldenChecks(),
    ...divergenceValueChecks(device),
    ...divergenceBitChecks(device),
    ...divergenceEdgeChecks(device),
  ];
}
