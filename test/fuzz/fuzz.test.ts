import { describe, expect, test } from "vitest";

const { mutations } = await import(new URL("./mutations.mjs", import.meta.url).href);
const { keptInputs, loadTarget, targetNames } = await import(
  new URL("./targets.mjs", import.meta.url).href
);

/** Variations of each target's inputs; a checkpoint takes a run each. */
const counts: Readonly<Record<string, number>> = { checkpoint: 20, score: 60 };

describe.each<string>(targetNames)("%s takes any bytes", (name) => {
  test("that once were found, and seeded variations of them", async () => {
    const { fuzz, maxLength, dictionary } = await loadTarget(name);
    const kept: { file: string; bytes: Buffer }[] = keptInputs(name);
    expect(kept.length).toBeGreaterThan(0);
    for (const { file, bytes } of kept) await holds(fuzz, bytes, `corpus/${name}/${file}`);
    const inputs = kept.map(({ bytes }) => bytes);
    const plan = { seed: 6, count: counts[name] ?? 200, maxLength, dictionary };
    for (const bytes of mutations(inputs, plan)) {
      await holds(fuzz, bytes, `the bytes of base64 ${bytes.toString("base64")}`);
    }
  });
});

/** Says with which input where a target finds something. */
async function holds(fuzz: (bytes: Buffer) => Promise<void>, bytes: Buffer, input: string) {
  try {
    await fuzz(bytes);
  } catch (cause) {
    throw new Error(`${(cause as Error).stack}\nfound with ${input}`, { cause });
  }
}
