import { expect, it } from "vitest";
import type { Tokenizer } from "../../src/contract/index.js";
import { RolloutText } from "../../src/serve/rolloutText.js";

/** Tokens are pieces of UTF-8, as in byte-level vocabularies: id = byte. */
const bytes: Tokenizer = {
  vocabularySize: 257,
  endOfSequence: 256,
  encode: (text) => Int32Array.from(Buffer.from(text)),
  decode: (ids) => Buffer.from(ids.filter((id) => id < 256)).toString("utf8"),
};

function run(text: string, stops: readonly string[]) {
  const rollout = new RolloutText(bytes, stops);
  const deltas: string[] = [];
  let tokens = 0;
  for (const id of bytes.encode(text)) {
    tokens += 1;
    const stopped = rollout.push(id);
    deltas.push(rollout.take());
    if (stopped) break;
  }
  deltas.push(rollout.takeAll());
  return { deltas, text: rollout.text, tokens };
}

it("shows a character when its last byte has come", () => {
  const { deltas, text } = run("aé€😀b", []);
  expect(text).toBe("aé€😀b");
  expect(deltas.join("")).toBe(text);
  expect(deltas.some((delta) => delta.includes("�"))).toBe(false);
  expect(deltas.slice(0, 3)).toEqual(["a", "", "é"]);
});

it("shows what never became a character at the end", () => {
  const rollout = new RolloutText(bytes, []);
  for (const id of [0x61, 0xe2, 0x82]) rollout.push(id);
  expect(rollout.take()).toBe("a");
  expect(rollout.takeAll()).toBe("�");
});

it.each([
  ["12abc34", ["abc"], "12", 5],
  // What looked like the beginning of the stop text was not.
  ["12abab34abc", ["abc"], "12abab34", 11],
  ["aaab", ["aab"], "a", 4],
  // The one that comes first ends it, whichever is listed first.
  ["xyz-abc", ["abc", "y"], "x", 2],
  ["abc", ["abc"], "", 3],
  ["12ab", ["abc"], "12ab", 4],
  ["é€", ["€"], "é", 5],
] as const)("%j ends before %j", (whole, stops, text, tokens) => {
  const ended = run(whole, stops);
  expect(ended.text).toBe(text);
  expect(ended.deltas.join("")).toBe(text);
  expect(ended.tokens).toBe(tokens);
});
