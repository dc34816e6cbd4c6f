import type { Engine } from "../../engine/engine.js";
import type { Check } from "../check.js";
import { surrogateBitChecks } from "./bits.js";
import { surrogateEdgeChecks } from "./edges.js";
import { surrogateGoldenChecks } from "./golden.js";
import { surrogateGradientChecks } from "./gradients.js";
import { surrogateMetricChecks } from "./metrics.js";
import { surrogateValueChecks } from "./values.js";

/** All checks of the family; what only concerns maths that both backends share is the CPU's. */
export function surrogateChecks(device: Engine["device"]): Check[] {
  return [
    ...surrogateGoldenChecks(),
    ...surrogateValueChecks(device),
    ...(device === "emulated" ? [] : surrogateGradientChecks()),
    ...surrogateBitChecks(),
    ...surrogateEdgeChecks(device),
    ...surrogateMetricChecks(),
  ];
}
