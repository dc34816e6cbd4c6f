import { expect, test } from "vitest";
import type { StateValue } from "../../src/contract/index.js";
import { MemoryStateStore } from "../../src/trainer/stateStore.js";

test("whatever is stored comes back from a checkpoint's JSON", () => {
  const value: StateValue = {
    queue: [{ tokens: Int32Array.of(1, -2), weight: 0.1 }, null],
    bounds: [Infinity, -Infinity],
    dual: Float64Array.of(1 / 3),
    seen: new Uint8Array(0),
    text: "é\n",
  };
  const store = new MemoryStateStore();
  store.set("recycler/queue", value);
  store.set("a", 1);
  const copy = MemoryStateStore.fromJson(JSON.parse(JSON.stringify(store.toJson())));
  expect(copy.keys()).toEqual(["a", "recycler/queue"]);
  expect(copy.get("recycler/queue", null)).toEqual(value);
  expect(copy.get("nothing", 7)).toBe(7);
});

test.each([
  ["a function", () => 1],
  ["an instance", new Map()],
  ["undefined", undefined],
  ["a reserved key", { $array: "Int32Array" }],
])("%s cannot be saved, and where it stands is said", (_, value) => {
  const store = new MemoryStateStore();
  store.set("mine", { deep: [value as never] });
  expect(() => store.toJson()).toThrow(/in the state at mine\.deep\[0\]/);
});
