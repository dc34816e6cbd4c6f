import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { bernoulliEdgeChecks } from "./edges.js";
import { bernoulliValueChecks } from "./values.js";

/** All checks of the family. */
export function bernoulliChecks(device: Engine["device"]): Check[] {
  return [...bernoulliValueChecks(device), ...bernoulliEdgeChecks(device)];
}
