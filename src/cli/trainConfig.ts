import { checkKeys, invalid } from "../engine/checks.js";
import type { TrainOptions } from "../index.js";
import { configNames } from "../trainOptions.js";
import { readJsonObject } from "./flagFile.js";

/** The options of a JSON file; what no file can hold is refused. @throws FiresteelError ERR_OPTION */
export function readTrainConfig(path: string): Partial<TrainOptions> {
  const config = readJsonObject("--config", path) as Record<string, unknown>;
  checkKeys(path, config, configNames);
  const named = {
    system: "an id",
    task: "an id or ids with weights",
    policy: '"tiny" or a folder',
  };
  for (const [name, expected] of Object.entries(named)) {
    const value = config[name];
    if (value === undefined || typeof value === "string") continue;
    throw invalid("ERR_OPTION", `${name} in ${path}`, expected, value);
  }
  return config;
}
