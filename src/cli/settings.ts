import type { Command } from "commander";
import type { DescribedOption } from "../contract/block.js";
import { checkChoice } from "../engine/checks.js";
import { FiresteelError, namedSystem, type TrainOptions } from "../index.js";
import { taskOf } from "../taskSource.js";
import { refuseOverridden } from "../trainer/overridden.js";
import {
  type DescribedSetting,
  describeSettings,
  printSettings,
  settingNames,
} from "../trainer/settings.js";
import { defaultSystem } from "../trainOptions.js";
import type { Terminal } from "./terminal.js";

/** Adds `--set` to a command; its value is what `parseSet` has made of all of them. */
export function acceptSettings(command: Command): Command {
  return command.option(
    "--set <name=value>",
    "any setting, its value as JSON or plain text; may be repeated",
    parseSet,
  );
}

/**
 * One `name=value` more.
 *
 * @throws FiresteelError ERR_OPTION for no such form, no such setting, or one that is given twice
 */
function parseSet(text: string, before: Record<string, unknown> = {}) {
  const [, name, value] = /^(\w+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    const message = `Expected --set name=value but received ${JSON.stringify(text)}`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  checkChoice("--set", name, settingNames);
  if (Object.hasOwn(before, name)) throw twice(name);
  return { ...before, [name]: parsed(value) };
}

/** Settings of the command line in one. @throws FiresteelError ERR_OPTION where one is given twice */
export function withSet<T extends object>(flags: T, set: Record<string, unknown> = {}): T {
  const both = Object.keys(set).find((name) => Object.hasOwn(flags, name));
  if (both !== undefined) throw twice(both);
  return { ...flags, ...set };
}

/** What a word that is no JSON stands for is the word: lrSchedulerType=cosine. */
function parsed(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** A setting that has no meaning now, with what it would be and why it is not. */
function withIdle(setting: DescribedSetting): DescribedOption {
  const { idle, description } = setting;
  if (idle === null) return setting;
  return { ...setting, value: setting.default, description: `${description} (idle: ${idle})` };
}

function twice(name: string): FiresteelError {
  return new FiresteelError("ERR_OPTION", `Expected one value for ${name} but it is given twice`);
}

/** Prints every setting of a run with what it is about, its value and its meaning. */
export async function showSettings(
  options: TrainOptions,
  json: boolean,
  terminal: Terminal,
): Promise<void> {
  const { system = defaultSystem(options) } = options;
  const theSystem = typeof system === "string" ? namedSystem(system) : system;
  const theTask = await taskOf(options, theSystem.task);
  const given = Object.fromEntries(
    Object.entries(options).filter(([name]) => settingNames.includes(name)),
  );
  refuseOverridden(theSystem, given);
  const groups = Object.entries(describeSettings(theTask, given));
  if (json) {
    const rows = groups.flatMap(([group, all]) => all.map((one) => ({ group, ...one })));
    terminal.out(`${JSON.stringify(rows)}\n`);
    return;
  }
  const shown = groups.map(([group, all]) => [group, all.map(withIdle)]);
  terminal.out(printSettings(theTask, Object.fromEntries(shown)));
}
