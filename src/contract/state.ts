/**
 * Everything that is remembered across steps, saved with every checkpoint: JSON values and typed
 * arrays, nested in plain objects and arrays. Keys are "<block>/<name>".
 */
export type StateValue =
  | null
  | boolean
  | number
  | string
  | Int32Array
  | Float32Array
  | Float64Array
  | Uint8Array
  | readonly StateValue[]
  | { readonly [key: string]: StateValue };

/** What a block remembers from step to step. It is part of every checkpoint. */
export interface StateStore {
  /** The value under `key`, or `initial` where nothing was stored. */
  get<T extends StateValue>(key: string, initial: T): T;
  /** Stores a value under `key`, in place of an earlier one. */
  set(key: string, value: StateValue): void;
  /** Forgets the value under `key`; nothing happens where there is none. */
  delete(key: string): void;
  /** The keys that hold something. */
  keys(): string[];
}
