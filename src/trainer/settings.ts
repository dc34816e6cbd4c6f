import type { DescribedOption } from "../contract/block.js";
import type { Task } from "../contract/task.js";
import type { Option } from "../options/option.js";
import { type OptionRules, parseOptions } from "../options/parseOptions.js";
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
  ...settingGroups.evaluation,
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

/** Why a setting has no meaning beside the others; it must be left at its default then. */
const idle: { [K in keyof TrainSettings]?: (all: TrainSettings) => string | null } = {
  lrMinRatio: (s) => (s.lrSchedulerType === "constant" ? 'lrSchedulerType is "constant"' : null),
  warmupSteps: (s) => (s.warmupRatio > 0 ? "warmupRatio is given" : null),
  lrSchedulerLength: (s) =>
    s.lrSchedulerType === "constant" && s.warmupRatio === 0 && s.warmupSteps === 0
      ? "the learning rate is constant"
      : null,
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
  const contradicts: OptionRules<Shape>["contradicts"] = Object.fromEntries(
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
  const { values: settings, described } = parseOptions("train", whole, given, { contradicts });
  return {
    settings,
    described: described.map((option) => {
      const why = idle[option.name as keyof TrainSettings]?.(settings) ?? null;
      return why === null ? option : { ...option, value: null };
    }),
  };
}

/** Every setting with its value, group by group, as text. */
export function printSettings(task: Task, settings: TrainSettings): string {
  const { described } = trainSettings(task, settings);
  const lines = optionLines(described);
  const groups = Object.entries(settingGroups).flatMap(([group, options]) => [
    `  ${group}`,
    ...lines.filter((_, i) => described[i]!.name in options),
  ]);
  return ["", `settings (task ${task.id})`, ...groups].map((line) => `${line}\n`).join("");
}
