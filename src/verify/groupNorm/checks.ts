import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { groupNormBitChecks } from "./bits.js";
import { groupNormEdgeChecks } from "./edges.js";
import { groupNormGoldenChecks } from "./golden.js";
import { groupNormValueChecks } from "./values.js";

/** All checks of the family. */
export function groupNormChecks(device: Engine["device"]): Check[] {
  return [
    ...groupNormGoldenChecks(),
    ...groupNormValueChecks(device),
    ...groupNormBitChecks(device),
    ...groupNormEdgeChecks(),
  ];
}
