import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import {
  aFunction,
  anObject,
  aText,
  checkArguments,
  either,
  listOf,
  optional,
  withFields,
} from "../engine/arguments.js";
import { checkChoice, invalid } from "../engine/checks.js";
import { aSystem, aTask } from "../engine/contractKinds.js";
import { namedTask } from "../taskSource.js";
import { namedSystem } from "../train.js";
import { type TrainSettings, trainSettings } from "../trainer/settings.js";
import type { ArmRun, Claim, Results } from "./claim.js";
import { claims } from "./claims/index.js";
import { aMeasure, type Comparison, resultsOf } from "./compare.js";

/** The claim of an id. @throws FiresteelError ERR_OPTION with the nearest id */
export function namedClaim(id: string): Claim {
  return claims[checkChoice("claim", id, Object.keys(claims))]!;
}

const aClaim = withFields({
  id: aText,
  claim: aText,
  baseline: aText,
  task: optional(either(aText, aTask)),
  settings: optional(anObject),
  arms: listOf(
    withFields({ name: aText, system: either(aText, aSystem), settings: optional(anObject) }),
  ),
  measure: aMeasure,
  reported: optional(listOf(aMeasure)),
  judge: aFunction,
});

/** A claim with its names bound. */
export interface Plan {
  readonly claim: Claim;
  readonly task: Task;
  readonly arms: readonly {
    readonly name: string;
    readonly system: System;
    readonly settings: Partial<TrainSettings>;
  }[];
}

/** Refuses before the first run what would fail after it. @throws FiresteelError ERR_OPTION */
export function planOf(claim: Claim): Plan {
  checkArguments({ claim }, { claim: aClaim });
  const arms = claim.arms.map(({ name, system, settings }) => ({
    name,
    system: typeof system === "string" ? namedSystem(system) : system,
    settings: { ...claim.settings, ...settings },
  }));
  const names = arms.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw invalid("ERR_OPTION", `arms of ${claim.id}`, "different names", twice);
  const { task = arms[0]!.system.task } = claim;
  const theTask = typeof task === "string" ? namedTask(task) : task;
  for (const { settings } of arms) trainSettings(theTask, settings);
  judge(claim, new Map(names.map((name) => [name, []])));
  return { claim, task: theTask, arms };
}

/** What a claim compares, with the runs that there are. @throws FiresteelError ERR_OPTION */
export function judge(
  claim: Claim,
  runs: ReadonlyMap<string, readonly ArmRun[]>,
): { results: Results; comparisons: readonly Comparison[]; first: Comparison } {
  const results = resultsOf(runs);
  const comparisons = claim.judge(results);
  const [first] = comparisons;
  if (first !== undefined) return { results, comparisons, first };
  throw invalid("ERR_OPTION", `judge of ${claim.id}`, "at least one comparison", comparisons);
}
