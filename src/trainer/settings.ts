import type { DescribedOption } from "../contract/block.js";
import type { Task } from "../contract/task.js";
import { checkChoice, checkKeys, invalid } from "../engine/checks.js";
import type { Option } from "../options/option.js";
import { optionLines } from "../options/optionLines.js";
import { type OptionRules, parseOptions } from "../options/parseOptions.js";
import { evaluationNames } from "./evaluationNames.js";
import { settingGroups, type TrainSettings } from "./settingsTable.js";

export type { TrainSettings } from "./settingsTable.js";

type Shape = { [K in keyof TrainSettings]: Option<TrainSettings[K]> };

/** All groups in one; a setting that no group has is an error of types here. */
const shape: Shape = {
  ...settingGroups.run,
  ...settingGroups.rollouts,
  ...settingGroups.updates,
  ...settingGroups["learning rate"],
  ...settingGroups["reference policy"],
  ...settingGroups.evaluation,
  ...settingGroups["early stop"],
  ...settingGroups.checkpoints,
};

/** The names of all settings. */
export const settingNames = Object.keys(shape);

function shapeFor(task: Task): Shape {
  const given = Object.entries(task.settings).filter(([, value]) => value !== undefined);
  const measured = given.map(([name, value]) => [
    name,
    { ...shape[name as keyof TrainSettings], default: value },
  ]);
  return { ...shape, ...Object.fromEntries(measured) };
}

/** Where evaluations are not compared with each other. */
function unranked(s: TrainSettings): string | null {
  const ranked = s.keepBest || s.earlyStopPatience !== null || s.earlyStopTarget !== null;
  return ranked ? null : "there is neither keepBest nor an early stop";
}

/** Why a setting has no meaning beside the others; it must be left at its default then. */
const idle: { [K in keyof TrainSettings]?: (all: TrainSettings) => string | null } = {
  staleRollouts: (s) => (s.maxStaleness === null ? "there is no maxStaleness" : null),
  lrMinRatio: (s) => (s.lrSchedulerType === "constant" ? 'lrSchedulerType is "constant"' : null),
  warmupSteps: (s) => (s.warmupRatio > 0 ? "warmupRatio is given" : null),
  lrSchedulerLength: (s) =>
    s.lrSchedulerType === "constant" && s.warmupRatio === 0 && s.warmupSteps === 0
      ? "the learning rate is constant"
      : null,
  refModelMixupAlpha: (s) => (s.syncRefModel ? null : "syncRefModel is false"),
  refModelSyncSteps: (s) => (s.syncRefModel ? null : "syncRefModel is false"),
  bestMetric: unranked,
  greaterIsBetter: unranked,
  earlyStopMinDelta: (s) => (s.earlyStopPatience === null ? "there is no earlyStopPatience" : null),
};

const withinSamples = (name: "evalPassAtK" | "evalMajAtK") => (all: TrainSettings) =>
  Math.max(0, ...all[name]) > all.evalSamples ? `at most ${all.evalSamples} (evalSamples)` : null;

/** What a setting must be beside the others, or null where it is. */
const bounds: OptionRules<Shape>["contradicts"] = {
  evalPassAtK: withinSamples("evalPassAtK"),
  evalMajAtK: withinSamples("evalMajAtK"),
};

/** A setting as it will be used. */
export interface DescribedSetting extends DescribedOption {
  /** Why it has no meaning beside the others; its value is null then. */
  readonly idle: string | null;
}

/**
 * The settings of a run: what is given, else what was measured for the task.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function trainSettings(task: Task, given: Partial<TrainSettings>): TrainSettings {
  return parseSettings(task, given).values;
}

function parseSettings(task: Task, given: Partial<TrainSettings>) {
  checkKeys("task.settings", task.settings, settingNames);
  const whole = shapeFor(task);
  const untouched: OptionRules<Shape>["contradicts"] = Object.fromEntries(
    Object.entries(idle).map(([name, reason]) => [
      name,
      (all: TrainSettings) => {
        const key = name as keyof TrainSettings;
        const why = all[key] === whole[key].default ? null : reason(all);
        return why === null ? null : `nothing (${why})`;
      },
    ]),
  );
  const contradicts = { ...untouched, ...bounds };
  const parsed = parseOptions("train", whole, given, { contradicts });
  const { values } = parsed;
  const lacking = Object.entries(values).find(([, value]) => Number.isNaN(value))?.[0];
  if (lacking !== undefined) {
    const { expected } = whole[lacking as keyof TrainSettings];
    throw invalid("ERR_OPTION", `task.settings.${lacking}`, expected, undefined);
  }
  checkChoice("train.bestMetric", values.bestMetric, evaluationNames(task, values));
  return parsed;
}

/** Every setting, by what it is about. @throws FiresteelError ERR_OPTION */
export function describeSettings(
  task: Task,
  given: Partial<TrainSettings>,
): Record<string, DescribedSetting[]> {
  const { values, described } = parseSettings(task, given);
  const all = described.map((option) => {
    const why = idle[option.name as keyof TrainSettings]?.(values) ?? null;
    return { ...option, value: why === null ? option.value : null, idle: why };
  });
  return Object.fromEntries(
    Object.entries(settingGroups).map(([group, options]) => [
      group,
      all.filter(({ name }) => name in options),
    ]),
  );
}

/** Settings group by group, as text. */
export function printSettings(
  task: Task,
  groups: Readonly<Record<string, readonly DescribedOption[]>>,
): string {
  const lines = optionLines(Object.values(groups).flat());
  const text = Object.entries(groups).flatMap(([group, options]) => [
    `  ${group}`,
    ...lines.splice(0, options.length),
  ]);
  return [`settings (task ${task.id})`, ...text].map((line) => `${line.trimEnd()}\n`).join("");
}
