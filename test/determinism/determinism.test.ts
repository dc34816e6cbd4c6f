import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../folders.js";

const load = (file: string) => import(new URL(file, import.meta.url).href);
const firesteel = await load("../../dist/index.js");
const { compareRuns } = await load("./compare.mjs");
const { prebuiltAddon } = await load("./gypAddon.mjs");
const { packageCopy } = await load("./packageCopy.mjs");
const { plans } = await load("./plans.mjs");
const { variants } = await load("./variants.mjs");

const steps = 2;
const addon: string | null = prebuiltAddon();
if (addon === null) console.log("the addon of node-gyp is not compared: prebuilds/ has none");

test("a run gives the same bits on any threads, resumed, anywhere, with either build of the addon", async () => {
  const folder = await temporaryFolder();
  const addons = addon === null ? {} : { gyp: packageCopy(join(folder, "copy"), addon) };
  const differences = await compareRuns(firesteel, "grpo", steps, variants(steps, addons), folder);
  expect(differences).toEqual(
    Object.fromEntries(Object.keys(differences).map((name) => [name, null])),
  );
});

test.each(Object.keys(plans(firesteel)).filter((plan) => plan !== "grpo"))(
  "%s gives the same bits on four threads, and resumed",
  async (plan) => {
    const { "1 threads": alone, "4 threads": four, ...others } = variants(steps);
    const resumed = others["stopped after step 1 and resumed"];
    const folder = await temporaryFolder();
    const differences = await compareRuns(firesteel, plan, steps, { alone, four, resumed }, folder);
    expect(differences).toEqual({ alone: null, four: null, resumed: null });
  },
);

test("another seed is told apart", async () => {
  const folder = await temporaryFolder();
  const { "1 threads": alone } = variants(1);
  const other = { seed: 8 };
  const run = (_: unknown, plan: string, out: string) =>
    firesteel.train({ ...plans(firesteel)[plan], ...other, steps: 1, out });
  const { found } = await compareRuns(firesteel, "grpo", 1, { alone, found: run }, folder);
  expect(found).not.toBeNull();
});
