import { FiresteelError } from "./error.js";

/** How a value is named in an error message. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string")
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) {
    const length = "length" in value ? value.length : value.byteLength;
    return `a ${className(value)} of ${length}`;
  }
  return `a value of type ${typeof value === "object" ? className(value) : typeof value}`;
}

function className(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === "string" ? name : "Object";
}

/** Expected `expected` for `name` but received what `value` is. */
export function invalid(
  code: "ERR_SHAPE" | "ERR_DTYPE" | "ERR_RANGE" | "ERR_OPTION",
  name: string,
  expected: string,
  value: unknown,
): FiresteelError {
  return new FiresteelError(code, `Expected ${expected} for ${name} but received ${show(value)}`);
}

export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw invalid("ERR_RANGE", name, `an integer in [${min}, ${max}]`, value);
  }
  return value;
}

/** A number with `min <= value <= max`, or `min < value` where `exclusive`. NaN is refused. */
export function checkNumber(
  name: string,
  value: unknown,
  min: number,
  max = Number.MAX_VALUE,
  exclusive = false,
): number {
  if (typeof value === "number" && value <= max && (exclusive ? value > min : value >= min)) {
    return value;
  }
  const upper = max === Number.MAX_VALUE ? "finite" : max;
  throw invalid("ERR_RANGE", name, `a number in ${exclusive ? "(" : "["}${min}, ${upper}]`, value);
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw invalid("ERR_OPTION", name, "a boolean", value);
  return value;
}

export function checkChoice<T extends string>(
  name: string,
  value: unknown,
  choices: readonly T[],
): T {
  if (typeof value === "string" && (choices as readonly string[]).includes(value))
    return value as T;
  const { message } = invalid("ERR_OPTION", name, `one of ${choices.map(show).join(", ")}`, value);
  throw new FiresteelError("ERR_OPTION", message + didYouMean(value, choices));
}

/** The error for what a signal ended. */
export function aborted({ reason }: AbortSignal, what: string): FiresteelError {
  const message = `${what} was aborted: ${show(reason)}`;
  return new FiresteelError("ERR_ABORTED", message, { cause: reason });
}

/** @throws FiresteelError ERR_ABORTED where the signal has ended `what` */
export function throwIfAborted(signal: AbortSignal | null | undefined, what: string): void {
  if (signal?.aborted) throw aborted(signal, what);
}

/** Refuses keys that nobody reads. */
export function checkKeys(name: string, value: unknown, known: readonly string[]): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("ERR_OPTION", name, "an object", value);
  }
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw unknownKey(name, unknown, known);
}

/** An option that does not exist, with the nearest that does; all of them only where none is near. */
export function unknownKey(name: string, key: string, known: readonly string[]): FiresteelError {
  const hint = didYouMean(key, known);
  const all = known.length === 0 ? "no options" : `only ${known.map(show).join(", ")}`;
  const expected = hint === "" ? all : "only known options";
  return new FiresteelError(
    "ERR_OPTION",
    `Expected ${expected} in ${name} but received ${show(key)}${hint}`,
  );
}

/** The end of a message about a misspelt name: " (did you mean ...?)", or "" where none is near. */
export function didYouMean(value: unknown, choices: readonly string[]): string {
  const near = typeof value === "string" ? nearest(value, choices) : undefined;
  return near === undefined ? "" : ` (did you mean ${show(near)}?)`;
}

function nearest(value: string, choices: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(value.length / 2)) + 1;
  for (const choice of choices) {
    const distance = editDistance(value.toLowerCase(), choice.toLowerCase());
    if (distance < least) {
      least = distance;
      best = choice;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; ++i) {
    const row = [i];
    for (let j = 1; j <= b.length; ++j) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + change));
    }
    previous = row;
  }
  return previous[b.length]!;
}
