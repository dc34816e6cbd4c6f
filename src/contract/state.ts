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

export interface StateStore {
  /** The value under `key`, or `initial` where nothing was stored. */
  get<T extends StateValue>(key: string, initial: T): T;
  set(key: string, value: StateValue): void;
  delete(key: string): void;
  keys(): string[];
}
