import { invalid } from "../engine/checks.js";
import { type DatasetOptions, FiresteelError, type TrainOptions } from "../index.js";

/** Flags of a command that reads questions from files. */
export interface DataFlags {
  data?: string[];
  columns?: string;
  verifier?: string;
  answer?: string;
  evalData?: string[];
}

/**
 * What the flags say of the data, over what the config says.
 *
 * @throws FiresteelError ERR_OPTION for flags without data
 */
export function dataOptions(
  { data, columns, verifier, answer, evalData }: DataFlags,
  config: Partial<TrainOptions>,
): Pick<TrainOptions, "data"> {
  const given = Object.entries({ columns, verifier, answer, "eval-data": evalData }).filter(
    ([, value]) => value !== undefined,
  );
  if (data === undefined && config.data === undefined) {
    if (given.length === 0) return {};
    const message = `Expected --data FILE beside --${given[0]![0]} but it is missing`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const said = {
    path: data,
    columns: columns === undefined ? undefined : columnMap(columns),
    verifier,
    answer,
    evaluation: evalData === undefined ? undefined : { path: evalData },
  };
  const flags = Object.entries(said).filter(([, value]) => value !== undefined);
  return { data: { ...config.data, ...Object.fromEntries(flags) } as DatasetOptions };
}

/** "prompt=question,label=answer" */
function columnMap(text: string): Record<string, string> {
  const pairs = text.split(",").map((pair) => pair.split("="));
  const whole = pairs.every(
    (pair) => pair.length === 2 && pair.every((name) => name.trim() !== ""),
  );
  if (!whole) throw invalid("ERR_OPTION", "--columns", "prompt=NAME,label=NAME,id=NAME", text);
  return Object.fromEntries(pairs.map(([role, column]) => [role!.trim(), column!.trim()]));
}
