import { describe, expect, test } from "vitest";
import { claims } from "../../src/index.js";
import { firesteel } from "./terminal.js";

describe("replicate", () => {
  test("--list says what there is", async () => {
    const { code, out } = await firesteel(["replicate", "--list"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^dapo +Per optimiser step DAPO learns faster than GRPO$/m);
    const listed = JSON.parse((await firesteel(["replicate", "--list", "--json"])).out);
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(Object.keys(claims));
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
