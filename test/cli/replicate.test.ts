import { describe, expect, test } from "vitest";
import { claims } from "../../src/index.js";
import { temporaryFolder } from "../folders.js";
import { firesteel } from "./terminal.js";

describe("replicate", () => {
  test("--list says what there is", async () => {
    const { code, out } = await firesteel(["replicate", "--list"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^dapo +Per optimiser step DAPO learns faster than GRPO$/m);
    const listed = JSON.parse((await firesteel(["replicate", "--list", "--json"])).out);
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(Object.keys(claims));
  });

  test("prints a table for people, and the same as data from the runs that it kept", async () => {
    const out = await temporaryFolder();
    const args = ["replicate", "dapo", "--seeds", "1", "--device", "cpu", "--out", out];
    const shown = await firesteel(args, true);
    expect(shown.code).toBe(0);
    expect(shown.err).toMatch(/dapo: run 2 of 2 \(grpo, seed 1\), training 20\/20/);
    expect(shown.out).toMatch(/^dapo: Per optimiser step DAPO learns faster than GRPO$/m);
    expect(shown.out).toMatch(/^grpo +0\.\d+ +0\.\d+ +[\d,]+ +-$/m);
    expect(shown.out).toMatch(/no interval, asked for \+0: inconclusive$/m);
    expect(shown.out).toMatch(/^shown: inconclusive \(\d+ s\)$/m);
    const data = await firesteel([...args, "--json"]);
    expect(data).toMatchObject({ code: 0, err: "" });
    const [found, ...others] = JSON.parse(data.out);
    expect(others).toEqual([]);
    expect(found).toMatchObject({ id: "dapo", interval: null, shown: "inconclusive" });
    expect(found.reported.curves.grpo.step).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    expect(found.system).toEqual(found.reported.arms.dapo["mean eval/accuracy over the run"]);
  });

  test.each<[string, string[], RegExp]>([
    [
      "no such claim",
      ["dpao"],
      /^error: .*for claim but received "dpao" \(did you mean "dapo"\?\)/,
    ],
    ["no seed", ["--seeds", "0"], /^error: Expected an integer >= 1 for seeds but received 0\n$/],
    ["seeds in words", ["--seeds", "three"], /^error: Expected a whole number for --seeds/],
    ["no such device", ["--device", "cdua"], /^error: .*for device but received "cdua"/],
  ])("%s is wrong use", async (_, args, message) => {
    const { code, out, err } = await firesteel(["replicate", ...args]);
    expect(err).toMatch(message);
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });
});
