import type { StateStore, StateValue } from "../contract/state.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { stateArrays as arrays, isStateObject } from "../engine/stateValue.js";

type ArrayName = keyof typeof arrays;

/** A store whose whole content can be turned into JSON and back. */
export class MemoryStateStore implements StateStore {
  readonly #values = new Map<string, StateValue>();

  get<T extends StateValue>(key: string, initial: T): T {
    return this.#values.has(key) ? (this.#values.get(key) as T) : initial;
  }

  set(key: string, value: StateValue): void {
    this.#values.set(key, value);
  }

  delete(key: string): void {
    this.#values.delete(key);
  }

  keys(): string[] {
    return [...this.#values.keys()].sort();
  }

  /** @throws FiresteelError ERR_CHECKPOINT for what cannot be written down, naming where it stands */
  toJson(): Record<string, unknown> {
    return Object.fromEntries(
      this.keys().map((key) => [key, encode(key, this.#values.get(key) as StateValue)]),
    );
  }

  /** @throws FiresteelError ERR_CHECKPOINT for what `toJson` has not written, naming where it stands */
  static fromJson(json: Readonly<Record<string, unknown>>): MemoryStateStore {
    const store = new MemoryStateStore();
    for (const [key, value] of Object.entries(json)) store.set(key, decode(key, value));
    return store;
  }
}

function encode(at: string, value: StateValue): unknown {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : { $number: String(value) };
  if (Array.isArray(value)) return value.map((item, i) => encode(`${at}[${i}]`, item));
  for (const name of Object.keys(arrays) as ArrayName[]) {
    if (value instanceof arrays[name]) {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      return { $array: name, data: bytes.toString("base64") };
    }
  }
  if (!isStateObject(value)) {
    throw new FiresteelError(
      "ERR_CHECKPOINT",
      `Expected JSON values and typed arrays (no keys that start with "$") in the state at ${at}`,
    );
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, encode(`${at}.${key}`, item as StateValue)]),
  );
}

function decode(at: string, value: unknown): StateValue {
  if (Array.isArray(value)) return value.map((item, i) => decode(`${at}[${i}]`, item));
  if (typeof value !== "object" || value === null) return value as StateValue;
  const { $number, $array, data } = value as Record<string, unknown>;
  if (typeof $number === "string") return Number($number);
  if ($array !== undefined) return decodeArray(at, $array, data);
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, decode(`${at}.${key}`, item)]),
  );
}

function decodeArray(at: string, name: unknown, data: unknown): StateValue {
  const known = typeof name === "string" && Object.hasOwn(arrays, name);
  const array = known ? arrays[name as ArrayName] : null;
  const bytes = Uint8Array.from(Buffer.from(String(data), "base64"));
  if (array === null || bytes.length % array.BYTES_PER_ELEMENT !== 0) {
    const message = `Expected an array as it was saved in the state at ${at} but it is ${show(name)} of ${bytes.length} bytes`;
    throw new FiresteelError("ERR_CHECKPOINT", message);
  }
  return new array(bytes.buffer);
}
