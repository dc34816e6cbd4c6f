import type { StateValue } from "../contract/state.js";

/** Typed arrays that a state can hold, by name. */
export const stateArrays = { Int32Array, Float32Array, Float64Array, Uint8Array } as const;

/** An object whose keys a state can hold: those that begin with "$" are its own. */
export function isStateObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const plain = Object.getPrototypeOf(value) === Object.prototype;
  return plain && !Object.keys(value).some((key) => key.startsWith("$"));
}

/** Whether a state can hold a value: JSON and typed arrays, nested in plain objects and arrays. */
export function isStateValue(value: unknown): value is StateValue {
  if (value === null || ["boolean", "string", "number"].includes(typeof value)) return true;
  if (Array.isArray(value)) return value.every(isStateValue);
  if (Object.values(stateArrays).some((array) => value instanceof array)) return true;
  return isStateObject(value) && Object.values(value).every(isStateValue);
}
