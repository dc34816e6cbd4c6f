import { inspect } from "node:util";
import { z } from "zod";
import type { DescribedOption, OptionValue } from "../contract/block.js";
import { didYouMean, show, unknownKey } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import type { Option } from "./option.js";

type Values<S> = { [K in keyof S]: S[K] extends Option<infer T> ? T : never };

/** What goes together beyond each option's own range. */
export interface OptionRules<S> {
  /** Why an option has no meaning beside the others, or null. Giving it then is an error. */
  inapplicable?: { [K in keyof S]?: (all: Values<S>) => string | null };
  /** What an option must be beside the others, or null where it is. */
  contradicts?: { [K in keyof S]?: (all: Values<S>) => string | null };
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
  const parsed = parse(name, object, given);
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

/** Proxies and getters may throw while they are read. */
function parse<T>(name: string, schema: z.ZodType<T>, given: unknown): z.ZodSafeParseResult<T> {
  try {
    return schema.safeParse(given);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "no Error";
    const message = `Expected options of ${name} that can be read but reading them threw: ${reason}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
}

function expectation(name: string, key: string, expected: string, value: unknown, hint = "") {
  const message = `Expected ${expected} for ${name}.${key} but received ${shown(value)}${hint}`;
  return new FiresteelError("ERR_OPTION", message);
}

/** Lists and objects with what is in them, as far as they can be inspected (globalThis cannot). */
function shown(value: unknown): string {
  const nested = typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
  try {
    return nested ? inspect(value, { depth: 1, breakLength: Infinity }) : show(value);
  } catch {
    return show(value);
  }
}

function refusal(
  name: string,
  shape: Record<string, Option<unknown>>,
  given: unknown,
  error: z.ZodError,
): FiresteelError {
  const issue = error.issues[0]!;
  if (issue.code === "unrecognized_keys" && issue.path.length === 0) {
    return unknownKey(name, issue.keys[0]!, Object.keys(shape));
  }
  const key = issue.path[0];
  if (typeof key !== "string") {
    const message = `Expected an object for the options of ${name} but received ${show(given)}`;
    return new FiresteelError("ERR_OPTION", message);
  }
  const option = shape[key]!;
  const value = (given as Record<string, unknown>)[key];
  const hint = didYouMean(value, option.choices ?? []);
  return expectation(name, key, option.expected, value, hint);
}
