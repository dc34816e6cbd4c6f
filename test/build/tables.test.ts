import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { kernelTables } from "../../src/engine/kernels/tables.js";

const root = new URL("../../", import.meta.url);
const { nativeTables, tableFamilies } = await import(
  new URL("scripts/generateTables.mjs", root).href
);

const { kernelDocs } = await import(new URL("scripts/generateDocs.mjs", root).href);

it("docs/kernels.md is what scripts/generateDocs.mjs writes", () => {
  const written = readFileSync(new URL("docs/kernels.md", root), "utf8");
  expect(written).toBe(kernelDocs(kernelTables));
});

it.each(kernelTables.map((table) => [table.family, table] as const))(
  "%s: what is refused has a reason and something near, and much is legal",
  (_, { combinations, tolerances }) => {
    const refused = combinations.flatMap(({ refusal }) => (refusal === null ? [] : [refusal]));
    expect(refused.length).toBeLessThan(combinations.length);
    for (const { reason, nearest } of refused) expect([reason, nearest]).not.toContain("");
    for (const { cpu, cuda } of tolerances) expect(Math.min(cpu, cuda)).toBeGreaterThan(0);
  },
);

describe("native code dispatches on the kernel tables", async () => {
  const named = tableFamilies.map(async (family: string) => [
    family,
    await import(new URL(`src/engine/kernels/${family}Table.ts`, root).href),
  ]);
  const files: Record<string, string> = nativeTables(Object.fromEntries(await Promise.all(named)));

  it.each(Object.keys(files))("%s is what scripts/generateTables.mjs writes", (path) => {
    expect(readFileSync(new URL(path, root), "utf8")).toBe(files[path]);
  });
});
