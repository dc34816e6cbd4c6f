import type { DescribedOption } from "../contract/block.js";
import type { Task } from "../contract/task.js";
import { checkChoice } from "../engine/checks.js";
import type { Option } from "../options/option.js";
import { type OptionRules, parseOptions } from "../options/parseOptions.js";
import { evaluationNames } from "./evaluationNames.js";
import { optionLines } from "./printSystem.js";
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
  const measured = Object.entries(task.settings).map(([name, value]) => [
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

/**
 * The settings of a run: what is given, else what was measured for the task.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function trainSettings(
  task: Task,
  given: Partial<TrainSettings>,
): { settings: TrainSettings; described: DescribedOption[] } {
  const whole = shapeFor(task);
  const idleUntouched: OptionRules<Shape>["contradicts"] = Object.fromEntries(
    Object.entries(idle).map(([name, reason]) => [
      name,
      (all: TrainSettings) => {
        const why = reason(all);
        const key = name as keyof TrainSettings;
        const untouched = all[key] === whole[key].default;
        return why === null || untouched ? null : `nothing (${why})`;
      },
    ]),
  );
  const { values: settings, described } = parseOptions("train", whole, given, {
    contradicts: { ...idleUntouched, ...bounds },
  });
  checkChoice("train.bestMetric", settings.bestMetric, evaluationNames(task, settings));
  return {
    settings,
    described: described.map((option) => {
      const why = idle[option.name as keyof TrainSettings]?.(settings) ?? null;
      return why === null ? option : { ...option, value: null };
    }),
  };
}

/** Every setting as it will be used, by what it is about. @throws FiresteelError ERR_OPTION */
export function describeSettings(
  task: Task,
  given: Partial<TrainSettings>,
): Record<string, DescribedOption[]> {
  const { described } = trainSettings(task, given);
  return Object.fromEntries(
    Object.entries(settingGroups).map(([group, options]) => [
      group,
      described.filter(({ name }) => name in options),
    ]),
  );
}

/** Every setting with its value, group by group, as text. */
export function printSettings(task: Task, given: Partial<TrainSettings>): string {
  const groups = describeSettings(task, given);
  const lines = optionLines(Object.values(groups).flat());
  const text = Object.entries(groups).flatMap(([group, options]) => [
    `  ${group}`,
    ...lines.splice(0, options.length),
  ]);
  return ["", `settings (task ${task.id})`, ...text].map((line) => `${line.trimEnd()}\n`).join("");
}
