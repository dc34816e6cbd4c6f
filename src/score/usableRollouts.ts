import type { Trajectory } from "../contract/data.js";
import type { Phase } from "../contract/system.js";
import { FiresteelError } from "../engine/error.js";
import { fileLines } from "../files/fileLines.js";
import { LightTrajectories, missingField } from "./offline.js";
import { parseRollout, type Rollout } from "./rolloutFile.js";

/** Bad lines that an error names one by one. */
const NAMED_LINES = 20;

/** A rollout and its number among the usable ones. */
export interface Indexed {
  index: number;
  rollout: Rollout;
}

/** A line as a rollout that the phase's loss can use. @throws FiresteelError ERR_RANGE */
function usable(phase: Phase, text: string, line: number): Rollout {
  const rollout = parseRollout(text, line);
  const missing = missingField(phase, rollout);
  if (missing === null) return rollout;
  throw new FiresteelError("ERR_RANGE", `line ${line}: Expected ${missing} but received none`);
}

/** Everything of the file but its log-probs. */
export async function summaries(
  path: string,
  phase: Phase,
  onBadLine: ((error: FiresteelError) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<{ light: Trajectory[]; bad: number }> {
  const light = new LightTrajectories();
  const errors: string[] = [];
  let bad = 0;
  for await (const { line, text } of fileLines(path, signal)) {
    try {
      light.add(usable(phase, text, line));
    } catch (error) {
      if (!(error instanceof FiresteelError)) throw error;
      bad += 1;
      if (onBadLine !== undefined) onBadLine(error);
      else if (errors.length < NAMED_LINES) errors.push(error.message);
    }
  }
  if (errors.length > 0) {
    const rest = bad - errors.length;
    const more = rest > 0 ? `\n... and ${rest} more` : "";
    const count = `${bad} unusable ${bad === 1 ? "line" : "lines"}`;
    throw new FiresteelError("ERR_RANGE", `${path}: ${count}\n${errors.join("\n")}${more}`);
  }
  return { light: light.all, bad };
}

/** What a loss must see at once: a rollout, or the adjacent rollouts of a group. */
export async function* units(
  path: string,
  phase: Phase,
  coupled: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<Indexed[]> {
  const ended = new Set<string | number>();
  let unit: Indexed[] = [];
  let index = 0;
  for await (const { line, text } of fileLines(path, signal)) {
    let rollout: Rollout;
    try {
      rollout = usable(phase, text, line);
    } catch (error) {
      if (error instanceof FiresteelError) continue; // reported by the first reading
      throw error;
    }
    const group = unit[0]?.rollout.group;
    if (unit.length > 0 && !(coupled && group === rollout.group)) {
      yield unit;
      if (coupled) ended.add(group!);
      unit = [];
    }
    if (ended.has(rollout.group)) {
      throw new FiresteelError(
        "ERR_RANGE",
        `line ${line}: Expected the rollouts of group ${rollout.group} in adjacent lines (the loss ` +
          "couples them) but other groups stand between them",
      );
    }
    unit.push({ index: index++, rollout });
  }
  if (unit.length > 0) yield unit;
}
