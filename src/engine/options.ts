import { inspect } from "node:util";
import { z } from "zod";
import type { DescribedOption, OptionValue, Scheduled } from "../contract/block.js";
import { nearest, show } from "./checks.js";
import { FiresteelError } from "./error.js";

/** One option: what it accepts, in zod and in words, what it is when not given, and what it means. */
export interface Option<T> {
  readonly schema: z.ZodType<T>;
  readonly expected: string;
  readonly default: T;
  readonly description: string;
  readonly choices?: readonly string[];
}

type Values<S> = { [K in keyof S]: S[K] extends Option<infer T> ? T : never };

export interface OptionRules<S> {
  /** Why an option has no meaning beside the others, or null. Giving it then is an error. */
  inapplicable?: { [K in keyof S]?: (all: Values<S>) => string | null };
  /** What an option must be beside the others, or null where it is. */
  contradicts?: { [K in keyof S]?: (all: Values<S>) => string | null };
}

/** Limits of a number: `min <= x <= max`, or `above < x`. */
interface Limits {
  min?: number;
  max?: number;
  above?: number;
}

function within({ min, max, above }: Limits, integer: boolean): [z.ZodType<number>, string] {
  let schema = integer ? z.number().int() : z.number();
  if (min !== undefined) schema = schema.min(min);
  if (max !== undefined) schema = schema.max(max);
  if (above !== undefined) schema = schema.gt(above);
  const bounds = [
    min === undefined ? "" : `>= ${min}`,
    above === undefined ? "" : `> ${above}`,
    max === undefined ? "" : `<= ${max}`,
  ].filter((text) => text !== "");
  return [schema, `${integer ? "an integer" : "a number"} ${bounds.join(" and ")}`.trim()];
}

export function number(initial: number, limits: Limits, description: string): Option<number> {
  const [schema, expected] = within(limits, false);
  return { schema, expected, default: initial, description };
}

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

export function choice<const T extends string>(
  initial: T,
  choices: readonly T[],
  description: string,
): Option<T> {
  return {
    schema: z.enum(choices as readonly [T, ...T[]]) as unknown as z.ZodType<T>,
    expected: `one of ${choices.map(show).join(", ")}`,
    default: initial,
    description,
    choices,
  };
}

export function flag(initial: boolean, description: string): Option<boolean> {
  return { schema: z.boolean(), expected: "a boolean", default: initial, description };
}

export function text(initial: string, description: string): Option<string> {
  return {
    schema: z.string().min(1),
    expected: "a non-empty string",
    default: initial,
    description,
  };
}

/** A number for each of some names. */
export function numbersByName(description: string): Option<Readonly<Record<string, number>>> {
  const schema = z.record(z.string(), z.number());
  return { schema, expected: "an object of numbers", default: {}, description };
}

/** The same option, or null (its default): the description says what null stands for. */
export function orNull<T>(option: Option<T>): Option<T | null> {
  return {
    ...option,
    schema: option.schema.nullable(),
    expected: `${option.expected}, or null`,
    default: null,
  };
}

/**
 * Checks what was given against what is declared, and fills in the defaults. An option that has no
 * meaning beside the others is described as null.
 *
 * @param name of the block or settings, for messages
 * @throws FiresteelError ERR_OPTION for an unknown option, a wrong value, one that does not apply in
 *   the combination, and contradictory ones: naming the option, what was expected, what came and, for
 *   a misspelt name, the nearest one
 */
export function parseOptions<S extends { [name: string]: Option<never> | Option<unknown> }>(
  name: string,
  shape: S,
  given: unknown,
  rules: OptionRules<S> = {},
): { values: Values<S>; described: DescribedOption[] } {
  const object = z.strictObject(
    Object.fromEntries(
      Object.entries(shape).map(([key, option]) => [key, option.schema.optional()]),
    ),
  );
  const parsed = object.safeParse(given);
  if (!parsed.success) throw refusal(name, shape, given, parsed.error);

  const values = Object.fromEntries(
    Object.entries(shape).map(([key, option]) => {
      const value = parsed.data[key];
      return [key, value === undefined ? option.default : value];
    }),
  ) as Values<S>;
  const described = Object.entries(shape).map(([key, option]): DescribedOption => {
    const reason = rules.inapplicable?.[key]?.(values) ?? null;
    const value = parsed.data[key];
    if (reason !== null && value !== undefined && value !== null) {
      throw expectation(name, key, `nothing (${reason})`, value);
    }
    const expected = rules.contradicts?.[key]?.(values) ?? null;
    if (reason === null && expected !== null) throw expectation(name, key, expected, values[key]);
    return {
      name: key,
      value: reason === null ? (values[key] as OptionValue) : null,
      default: option.default as OptionValue,
      description: option.description,
    };
  });
  return { values, described };
}

function expectation(name: string, key: string, expected: string, value: unknown, hint = "") {
  const nested = typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
  const shown = nested ? inspect(value, { depth: 1, breakLength: Infinity }) : show(value);
  const message = `Expected ${expected} for ${name}.${key} but received ${shown}${hint}`;
  return new FiresteelError("ERR_OPTION", message);
}

function refusal(
  name: string,
  shape: Record<string, Option<unknown>>,
  given: unknown,
  error: z.ZodError,
): FiresteelError {
  const issue = error.issues[0]!;
  if (issue.code === "unrecognized_keys" && issue.path.length === 0) {
    const known = Object.keys(shape);
    const key = issue.keys[0]!;
    const near = nearest(key, known);
    const hint = near === undefined ? "" : ` (did you mean ${show(near)}?)`;
    const allowed = known.length === 0 ? "no options" : `only ${known.map(show).join(", ")}`;
    return new FiresteelError(
      "ERR_OPTION",
      `Expected ${allowed} in ${name} but received ${show(key)}${hint}`,
    );
  }
  const key = issue.path[0];
  if (typeof key !== "string") {
    const message = `Expected an object for the options of ${name} but received ${show(given)}`;
    return new FiresteelError("ERR_OPTION", message);
  }
  const option = shape[key]!;
  const value = (given as Record<string, unknown>)[key];
  const near =
    typeof value === "string" && option.choices !== undefined
      ? nearest(value, option.choices)
      : undefined;
  const hint = near === undefined ? "" : ` (did you mean ${show(near)}?)`;
  return expectation(name, key, option.expected, value, hint);
}

/** The value of a scheduled option at a step (which counts from 1). */
export function atStep(value: Scheduled, step: number): number {
  if (typeof value === "number") return value;
  const share = Math.min(1, (step - 1) / value.steps);
  return value.from + (value.to - value.from) * share;
}
