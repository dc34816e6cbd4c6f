import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { groupLossEdgeChecks } from "./edges.js";
import { groupLossGoldenChecks } from "./golden.js";
import { rowScoreChecks } from "./rowScore.js";
import { groupLossValueChecks } from "./values.js";

/** All checks of the family. */
export function groupLossChecks(device: Engine["device"]): Check[] {
  return [
    ...rowScoreChecks(device),
    ...groupLossGoldenChecks(),
    ...groupLossValueChecks(device),
    ...groupLossEdgeChecks(),
  ];
}
