import type { Group } from "../../contract/data.js";
import type { PhaseReport } from "../../contract/run.js";

/**
 * The groups of a phase that are recorded: the first ones of every kind of prompt in turn, so that no
 * kind is missing while there is room for it. Groups that a filter sampled afresh come after the others.
 */
export function chooseGroups({ groups, trained }: PhaseReport, count: number): Group[] {
  const known = new Set(groups.flatMap(({ trajectories }) => trajectories.map(({ id }) => id)));
  const fresh = trained.filter(({ trajectories }) => !trajectories.some(({ id }) => known.has(id)));
  const byKind = new Map<string | undefined, Group[]>();
  for (const group of [...groups, ...fresh]) {
    const { kind } = group.prompt;
    const others = byKind.get(kind);
    if (others === undefined) byKind.set(kind, [group]);
    else others.push(group);
  }
  const chosen: Group[] = [];
  for (let turn = 0; chosen.length < count; ++turn) {
    const next = [...byKind.values()].flatMap((of) => of.slice(turn, turn + 1));
    if (next.length === 0) break;
    chosen.push(...next.slice(0, count - chosen.length));
  }
  return chosen;
}
