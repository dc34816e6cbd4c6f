import { z } from "zod";
import type { Scheduled } from "../contract/block.js";
import { aText, checkArguments, listOf } from "../engine/arguments.js";
import { show } from "../engine/checks.js";

/** One option: what it accepts, in zod and in words, what it is when not given, and what it means. */
export interface Option<T> {
  readonly schema: z.ZodType<T>;
  readonly expected: string;
  readonly default: T;
  readonly description: string;
  readonly choices?: readonly string[];
}

/** Limits of a number: `min <= x <= max`, `above < x < below`. */
export interface Limits {
  min?: number;
  max?: number;
  above?: number;
  below?: number;
}

function within({ min, max, above, below }: Limits, integer: boolean): [z.ZodType<number>, string] {
  let schema = integer ? z.number().int() : z.number();
  if (min !== undefined) schema = schema.min(min);
  if (max !== undefined) schema = schema.max(max);
  if (above !== undefined) schema = schema.gt(above);
  if (below !== undefined) schema = schema.lt(below);
  const bounds = [
    min === undefined ? "" : `>= ${min}`,
    above === undefined ? "" : `> ${above}`,
    max === undefined ? "" : `<= ${max}`,
    below === undefined ? "" : `< ${below}`,
  ].filter((text) => text !== "");
  return [schema, `${integer ? "an integer" : "a number"} ${bounds.join(" and ")}`.trim()];
}

/** A finite number within limits. `initial` is the default; `description` ends up beside the value in print. */
export function number(initial: number, limits: Limits, description: string): Option<number> {
  const [schema, expected] = within(limits, false);
  return { schema, expected, default: initial, description };
}

/** As `number`, whole. */
export function integer(initial: number, limits: Limits, description: string): Option<number> {
  const [schema, expected] = within(limits, true);
  return { schema, expected, default: initial, description };
}

/** A number that may also move linearly over the first steps. */
export function scheduled(
  initial: Scheduled,
  limits: Limits,
  description: string,
): Option<Scheduled> {
  const [plain, words] = within(limits, false);
  const linear = z.strictObject({
    schedule: z.literal("linear"),
    from: plain,
    to: plain,
    steps: z.number().int().min(1),
  });
  return {
    schema: z.union([plain, linear]),
    expected: `${words}, or { schedule: "linear", from, to, steps } of such`,
    default: initial,
    description,
  };
}

/** Different integers; none by default. */
export function integers(limits: Limits, description: string): Option<readonly number[]> {
  const [plain, words] = within(limits, true);
  const different = (list: readonly number[]) => new Set(list).size === list.length;
  return {
    schema: z.array(plain).refine(different),
    expected: `a list of different ones of ${words}`,
    default: [],
    description,
  };
}

/** One of some names. A misspelt one is answered with the nearest. */
export function choice<const T extends string>(
  initial: T,
  choices: readonly T[],
  description: string,
): Option<T> {
  checkArguments({ choices }, { choices: listOf(aText) });
  return {
    schema: z.enum(choices as readonly [T, ...T[]]) as unknown as z.ZodType<T>,
    expected: `one of ${choices.map(show).join(", ")}`,
    default: initial,
    description,
    choices,
  };
}

/** true or false. */
export function flag(initial: boolean, description: string): Option<boolean> {
  return { schema: z.boolean(), expected: "a boolean", default: initial, description };
}

/** Any text. */
export function text(initial: string, description: string): Option<string> {
  return { schema: z.string(), expected: "a text", default: initial, description };
}

/** A name, or null: the description says what null stands for. */
export function nameOrNull(description: string): Option<string | null> {
  const schema = z.string().min(1).nullable();
  return { schema, expected: "a name, or null", default: null, description };
}

/** A number for each of some names, whatever they are; none by default. */
export function numbersByName(description: string): Option<Readonly<Record<string, number>>> {
  const schema = z.record(z.string(), z.number());
  return { schema, expected: "an object of numbers", default: {}, description };
}

/** [low, high], or null (default): the description says for what. */
export function pair(description: string): Option<readonly [number, number] | null> {
  return {
    schema: z.tuple([z.number(), z.number()]).nullable(),
    expected: "[low, high], or null",
    default: null,
    description,
  };
}

/** As `pair`, with null for a low end that is open. */
export function pairOrOpen(description: string): Option<readonly [number | null, number] | null> {
  return {
    schema: z.tuple([z.number().nullable(), z.number()]).nullable(),
    expected: "[low, high] with a number or null for low, or null",
    default: null,
    description,
  };
}

/** A number for some of the names, or null (default): the description says for what. */
export function named<const K extends string>(
  names: readonly K[],
  limits: Limits,
  description: string,
): Option<Readonly<Partial<Record<K, number>>> | null> {
  checkArguments({ names }, { names: listOf(aText) });
  const [plain, words] = within(limits, false);
  const shape = Object.fromEntries(names.map((name) => [name, plain.optional()]));
  return {
    schema: z.strictObject(shape).nullable() as unknown as z.ZodType<Partial<
      Record<K, number>
    > | null>,
    expected: `{ ${names.join(", ")} } with ${words} for each, or null`,
    default: null,
    description,
  };
}

/** What `make` makes, or null: the description says what null stands for. */
export function orNull<T>(
  make: (initial: T, limits: Limits, description: string) => Option<T>,
  initial: T | null,
  limits: Limits,
  description: string,
): Option<T | null> {
  const option = make(initial as T, limits, description);
  return {
    ...option,
    schema: option.schema.nullable(),
    expected: `${option.expected}, or null`,
    default: initial,
  };
}

/** The value of a scheduled option at a step (which counts from 1). */
export function atStep(value: Scheduled, step: number): number {
  if (typeof value === "number") return value;
  const share = Math.min(1, (step - 1) / value.steps);
  return value.from + (value.to - value.from) * share;
}
