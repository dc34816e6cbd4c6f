import { join } from "node:path";
import type { Metrics } from "../contract/metrics.js";
import type { TrainResult } from "../index.js";
import { reportFile } from "../report/report.js";
import { count, duration, evaluationName, evaluationValue } from "./progress.js";
import { table } from "./terminal.js";

const endings = {
  signal: "interrupted",
  callback: "ended by a callback",
  patience: "ended early: no gain any more",
  target: "ended early: the target is reached",
} satisfies Record<NonNullable<TrainResult["stoppedBy"]>, string>;

/**
 * What is told of a run when it is over.
 *
 * @param what the system and the task
 */
export function closingTable(what: string, result: TrainResult, report: boolean): string {
  const { steps, seconds, device, start, metrics, stoppedBy, out } = result;
  const speed = `${count(metrics["tokens_per_second/generate"])} generating, ${count(metrics["tokens_per_second/train"])} training`;
  return table([
    ["system", what],
    ...heldOut(start, metrics),
    ["reward", metrics.reward?.toFixed(3) ?? "-"],
    ["steps", stoppedBy === null ? count(steps) : `${count(steps)} (${endings[stoppedBy]})`],
    ["tokens sampled", count(metrics.num_tokens)],
    ["tokens/s", speed],
    ["time", `${seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds)} on ${device}`],
    ["run", out ?? "-"],
    ...(report && out !== null ? [["report", join(out, reportFile)]] : []),
  ]);
}

/** What was evaluated, before and after. */
function heldOut(start: Metrics, end: Metrics): [string, string][] {
  return Object.keys(start).map((name) => [
    `${evaluationName(name)} (held out)`,
    `${evaluationValue(name, start[name])} -> ${evaluationValue(name, end[name])}`,
  ]);
}
