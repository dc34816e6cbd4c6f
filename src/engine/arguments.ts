import { invalid } from "./checks.js";
import { isTypedArray, type TypedArray } from "./dtype.js";
import { type Engine, isEngine } from "./engine.js";

/** Where a value is not what it must be: the path within the argument, what was expected, what is there. */
interface Flaw {
  readonly code?: "ERR_RANGE";
  readonly at: string;
  readonly expected: string;
  readonly received: unknown;
}

/** What an argument must be: finds the first flaw of a value, or null. */
export type Kind = (value: unknown) => Flaw | null;

function kind(expected: string, fits: (value: unknown) => boolean): Kind {
  return (value) => (fits(value) ? null : { at: "", expected, received: value });
}

export const aNumber = kind("a number", (value) => typeof value === "number");
export const aText = kind("a text", (value) => typeof value === "string");
export const aPath = kind(
  "a path",
  (value) => typeof value === "string" && value !== "" && !value.includes("\0"),
);
export const aFlag = kind("a boolean", (value) => typeof value === "boolean");
export const aFunction = kind("a function", (value) => typeof value === "function");
export const aSignal = kind("an AbortSignal", (value) => value instanceof AbortSignal);
export const anEngine = kind("an engine", isEngine);
export const anything: Kind = () => null;

/** With values that are views of one another's memory. */
export const aFloat32Array: Kind = (value) =>
  value instanceof Float32Array
    ? numbers(value)
    : { at: "", expected: "a Float32Array", received: value };

const isObject = (value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const anObject = kind("an object", isObject);

/** Longest list that is made or walked by a number that is given: beyond, memory would run out first. */
const MAX_COUNT = 2 ** 24;

function ranged(what: string, min: number, max: number, fits: (value: unknown) => boolean): Kind {
  return (value) =>
    fits(value) && (value as number) >= min && (value as number) <= max
      ? null
      : { code: "ERR_RANGE", at: "", expected: `${what} in [${min}, ${max}]`, received: value };
}

/** An integer with `min <= value <= max`. */
export function anInteger(min = 0, max = MAX_COUNT): Kind {
  return ranged("an integer", min, max, Number.isInteger);
}

/** A number with `min <= value <= max`. */
export function within(min: number, max: number): Kind {
  return ranged("a number", min, max, (value) => typeof value === "number");
}

export function oneOf(choices: readonly string[]): Kind {
  const expected = `one of ${choices.map((choice) => JSON.stringify(choice)).join(", ")}`;
  return kind(expected, (value) => choices.includes(value as string));
}

export function orNull(inner: Kind): Kind {
  return (value) => (value === null ? null : inner(value));
}

export function optional(inner: Kind): Kind {
  return (value) => (value === undefined ? null : inner(value));
}

function under(prefix: string, flaw: Flaw | null): Flaw | null {
  return flaw === null ? null : { ...flaw, at: `${prefix}${flaw.at}` };
}

export function listOf(inner: Kind, length?: number): Kind {
  return (value) => {
    if (!Array.isArray(value) || (length !== undefined && value.length !== length)) {
      const expected = length === undefined ? "an array" : `an array of ${length}`;
      return { at: "", expected, received: value };
    }
    for (let i = 0; i < value.length; ++i) {
      const flaw = inner(value[i]);
      if (flaw !== null) return under(`[${i}]`, flaw);
    }
    return null;
  };
}

const plainNumbers = listOf(aNumber);

/** Transferred memory looks empty, but most methods of a typed array throw on it. */
function isDetached(array: TypedArray): boolean {
  if (array.length > 0) return false;
  try {
    array.values();
    return false;
  } catch {
    return true;
  }
}

/** An array or a typed array of numbers. */
export const numbers: Kind = (value) => {
  if (isTypedArray(value)) {
    if (!isDetached(value)) return null;
    return { at: "", expected: "an array of numbers that was not transferred", received: value };
  }
  return Array.isArray(value)
    ? plainNumbers(value)
    : { at: "", expected: "an array of numbers", received: value };
};

/** An object with these fields, and any others; one of a class too. */
export function withFields(fields: Readonly<Record<string, Kind>>): Kind {
  const names = Object.keys(fields);
  return (value) => {
    if (!isObject(value)) return anObject(value);
    for (const name of names) {
      const flaw = fields[name]!((value as Record<string, unknown>)[name]);
      if (flaw !== null) return under(`.${name}`, flaw);
    }
    return null;
  };
}

/** An object of values of one kind. */
export function recordOf(inner: Kind): Kind {
  return (value) => {
    if (!isObject(value)) return anObject(value);
    for (const name of Object.keys(value as object)) {
      const flaw = inner((value as Record<string, unknown>)[name]);
      if (flaw !== null) return under(`.${name}`, flaw);
    }
    return null;
  };
}

/** Either of two kinds; a value that is neither is told what the one that it resembles expects. */
export function either(first: Kind, second: Kind): Kind {
  return (value) => {
    const flaw = first(value);
    if (flaw === null) return null;
    const other = second(value);
    if (other === null || other.at !== "") return other;
    return flaw.at !== "" ? flaw : { ...other, expected: `${flaw.expected} or ${other.expected}` };
  };
}

/**
 * Refuses the arguments of a function that are not what it can work with. What is called in every step
 * makes its kinds once, outside of the function.
 *
 * @param given every argument by its name
 * @throws FiresteelError ERR_OPTION, or ERR_RANGE for numbers: naming the argument, what was expected and
 *   what came
 */
export function checkArguments<Name extends string>(
  given: Readonly<Record<Name, unknown>>,
  kinds: Readonly<Record<Name, Kind>>,
): void {
  for (const name in kinds) {
    const flaw = kinds[name](given[name]);
    if (flaw === null) continue;
    throw invalid(flaw.code ?? "ERR_OPTION", `${name}${flaw.at}`, flaw.expected, flaw.received);
  }
}

/** @throws FiresteelError ERR_OPTION */
export function checkEngine(engine: unknown): asserts engine is Engine {
  if (!isEngine(engine)) throw invalid("ERR_OPTION", "engine", "an engine", engine);
}
