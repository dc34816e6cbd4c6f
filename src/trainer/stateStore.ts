import type { StateStore, StateValue } from "../contract/state.js";
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

  static fromJson(json: Readonly<Record<string, unknown>>): MemoryStateStore {
    const store = new MemoryStateStore();
    for (const [key, value] of Object.entries(json)) store.set(key, decode(value));
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

function decode(value: unknown): StateValue {
  if (Array.isArray(value)) return value.map(decode);
  if (typeof value !== "object" || value === null) return value as StateValue;
  const { $number, $array, data } = value as Record<string, unknown>;
  if (typeof $number === "string") return Number($number);
  if (typeof $array === "string" && $array in arrays) {
    const bytes = Uint8Array.from(Buffer.from(String(data), "base64"));
    return new arrays[$array as ArrayName](bytes.buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decode(item)]));
}
