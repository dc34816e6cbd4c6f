import type { System } from "../contract/system.js";
import { invalid } from "../engine/checks.js";
import type { TrainSettings } from "./settings.js";

/**
 * Refuses settings that the user gave and every phase of the system overrides.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function refuseOverridden(system: System, given: Partial<TrainSettings>): void {
  for (const name of ["minibatchSize", "numIterations"] as const) {
    if (given[name] === undefined) continue;
    const own = system.phases.map(({ update }) => update[name]);
    if (own.includes(undefined)) continue;
    const values = [...new Set(own)].join(" and ");
    const expected = `nothing (system ${system.id} has its own: ${values})`;
    throw invalid("ERR_OPTION", `train.${name}`, expected, given[name]);
  }
}
