import type { Phase, System } from "../contract/system.js";

/** The phases of a step: all, or those of the planned stage in which it falls. */
export function phasesAt(system: System, step: number): readonly Phase[] {
  if (system.stages === null) return system.phases;
  let left = step;
  for (const stage of system.stages) {
    if (left <= stage.steps || stage === system.stages.at(-1)) {
      return system.phases.filter(({ name }) => stage.phases.includes(name));
    }
    left -= stage.steps;
  }
  return [];
}
