import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import * as blocks from "../../../dist/blocks/index.js";
import { acceptSettings } from "../../../dist/cli/settings.js";
import { readTrainConfig } from "../../../dist/cli/trainConfig.js";
import { fromTRL, printSystem, sparkSystem, tasks } from "../../../dist/index.js";
import { settleOptions } from "../../../dist/samplers/openaiOptions.js";
import { describeSettings, settingNames } from "../../../dist/trainer/settings.js";
import { checkTrainOptions } from "../../../dist/trainOptions.js";
import { accepted } from "../refusal.mjs";
import { scratch } from "../scratch.mjs";
import { headed } from "../text.mjs";

const configPath = join(scratch, "config.json");

/** Factories of blocks take options, and make something with a name and options of its own. */
const factories = Object.entries(blocks).filter(([name, value]) => {
  const plain = typeof value === "function" && value.constructor.name === "Function";
  // Pure functions take more than options; a module that is named to workerReward begins a thread.
  if (!plain || value.length > 1 || name === "workerReward") return false;
  try {
    return typeof value({})?.block === "string";
  } catch (error) {
    return error.code === "ERR_OPTION";
  }
});

/** What reads options, by the name on an input's first line. The rest is JSON, or for "set" lines. */
const readers = {
  ...Object.fromEntries(factories.map(([name, make]) => [name, (given) => make(given)])),
  guarded: (given) => blocks.guarded(() => [], given),
  klPenalty: (given) => blocks.klPenalty(blocks.reward(), given),
  overlongPenalty: (given) => blocks.overlongPenalty(blocks.reward(), given),
  fromTRL: (given) => printSystem(fromTRL(given, { rewards: ["correct", "format"] }).system),
  sparkSystem: (given) => printSystem(sparkSystem(given)),
  settings: (given) => describeSettings(tasks.arithmetic, given),
  train: (given) => checkTrainOptions(given),
  sampler: (given) => settleOptions(given),
  config: (_, text) => {
    writeFileSync(configPath, text);
    const config = readTrainConfig(configPath);
    checkTrainOptions(config);
    describeSettings(tasks.arithmetic, settingsOf(config));
  },
  set: (_, text) => {
    const flags = text
      .toString("utf8")
      .split("\n")
      .flatMap((line) => ["--set", line]);
    const command = acceptSettings(new Command().exitOverride().configureOutput({ writeErr() {} }));
    const { set } = command.parse(flags, { from: "user" }).opts();
    describeSettings(tasks.arithmetic, set);
  },
};

export const dictionary = [
  ...Object.keys(readers),
  ...settingNames,
  "null",
  "true",
  "1e999",
  "__proto__",
];

/** Options as JSON, for every block, system, run and command: taken, or refused by name. */
export async function fuzz(bytes) {
  const { head, body } = headed(bytes);
  if (!Object.hasOwn(readers, head)) return;
  let given;
  try {
    given = JSON.parse(body.toString("utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    if (head !== "config" && head !== "set") return;
  }
  await accepted(() => readers[head](given, body));
}

function settingsOf(config) {
  return Object.fromEntries(Object.entries(config).filter(([name]) => settingNames.includes(name)));
}
