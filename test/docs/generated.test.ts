import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { claims, systems } from "../../src/index.js";
import { phaseBlocks } from "../../src/options/phaseBlocks.js";
import { root } from "./snippets.js";

const { systemsDocs } = await import(join(root, "scripts", "generateSystems.mjs"));
const { allowed, licencesText, runtimePackages } = await import(
  join(root, "scripts", "generateLicences.mjs")
);
const written = (file: string) => readFileSync(join(root, file), "utf8");

test("docs/systems.md is what scripts/generateSystems.mjs writes (npm run docs:generate)", () => {
  expect(written("docs/systems.md")).toBe(systemsDocs({ systems, claims, phaseBlocks }));
});

test("THIRD_PARTY.md is what scripts/generateLicences.mjs writes (npm run docs:generate)", () => {
  expect(written("THIRD_PARTY.md")).toBe(licencesText(runtimePackages()));
});

test("nothing that is installed with firesteel asks for more than a notice", () => {
  const packages: { name: string; license: string }[] = runtimePackages();
  expect(packages.map(({ name }) => name)).toContain("uplot");
  expect(packages.filter(({ license }) => !allowed.includes(license))).toEqual([]);
});

test("the licences lie in the package", () => {
  expect(JSON.parse(written("package.json")).files).toContain("THIRD_PARTY.md");
});
