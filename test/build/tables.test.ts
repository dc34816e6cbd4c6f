import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const root = new URL("../../", import.meta.url);
const { nativeTables, tableFamilies } = await import(
  new URL("scripts/generateTables.mjs", root).href
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
