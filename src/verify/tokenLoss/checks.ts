import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { tokenLossEdgeChecks } from "./edges.js";
import { tokenLossGoldenChecks } from "./golden.js";
import { tokenLossValueChecks } from "./values.js";

export function tokenLossChecks(device: Engine["device"]): Check[] {
  return [...tokenLossGoldenChecks(), ...tokenLossValueChecks(device), ...tokenLossEdgeChecks()];
}
