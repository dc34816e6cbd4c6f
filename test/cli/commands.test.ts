import { describe, expect, test } from "vitest";
import { systems, version } from "../../src/index.js";
import { firesteel } from "./terminal.js";

describe("every command", () => {
  const commands = [
    ...["train", "report", "score", "serve", "solve", "systems", "replicate"],
    ...["doctor", "verify", "bench"],
  ];
  test.each(commands)("%s --help shows examples", async (name) => {
    const { code, out, err } = await firesteel([name, "--help"]);
    expect(code).toBe(0);
    expect(err).toBe("");
    expect(out).toContain(`Usage: firesteel ${name}`);
    expect(out).toMatch(new RegExp(`Examples:\\n +firesteel ${name}`));
  });

  test("--help lists them, --version says which firesteel", async () => {
    const help = await firesteel(["--help"]);
    expect(help.code).toBe(0);
    for (const name of commands) {
      expect(help.out).toMatch(new RegExp(`^  ${name}`, "m"));
    }
    expect(help.out).toMatch(/Examples:\n +firesteel train/);
    expect(help.out).toMatch(/0 done, 1 failed, 2 wrong use/);
    expect(await firesteel(["--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
  });
});

describe("wrong use ends with 2 and one clear line", () => {
  test.each<[string, string[], RegExp]>([
    ["no such command", ["trian"], /^error: unknown command 'trian'\n\(Did you mean train\?\)\n$/],
    [
      "no such option",
      ["train", "--sead", "3"],
      /^error: unknown option '--sead'\n\(Did you mean --seed\?\)\n$/,
    ],
    [
      "no such system",
      ["train", "--system", "gpro"],
      /^error: .*received "gpro" \(did you mean "grpo"\?\)\n$/,
    ],
    [
      "no such task",
      ["train", "--task", "arithmetik"],
      /^error: .*\(did you mean "arithmetic"\?\)\n$/,
    ],
    [
      "no such device",
      ["train", "--device", "cdua"],
      /^error: .*for device but received "cdua".*\n$/,
    ],
    [
      "no number",
      ["train", "--steps", "ten"],
      /^error: Expected a whole number for --steps but received "ten"\n$/,
    ],
    ["a missing value", ["train", "--out"], /^error: option '--out <dir>' argument missing\n$/],
    ["too many arguments", ["train", "grpo"], /^error: too many arguments/],
    [
      "no config file",
      ["train", "--config", "/nowhere.json"],
      /^error: .*--config but \/nowhere\.json: ENOENT.*\n$/,
    ],
    ["no such system to print", ["systems", "mcgrpo"], /^error: .*\(did you mean "mc-grpo"\?\)\n$/],
  ])("%s", async (_, args, message) => {
    const { code, out, err } = await firesteel(args);
    expect(err).toMatch(message);
    expect(out).toBe("");
    expect(code).toBe(2);
  });
});

describe("systems", () => {
  test("lists one line a system", async () => {
    const { code, out } = await firesteel(["systems"]);
    expect(code).toBe(0);
    expect(out.trimEnd().split("\n")).toHaveLength(Object.keys(systems).length);
    expect(out).toMatch(/^mc-grpo +2601\.22582 +tokens +Median-Centered GRPO/m);
  });

  test("prints one fully expanded", async () => {
    const { code, out } = await firesteel(["systems", "grpo"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^ {6}epsilon +0\.2 +lower clip distance$/m);
  });

  test("as data", async () => {
    const { out } = await firesteel(["systems", "--json"]);
    const listed = JSON.parse(out) as Record<string, unknown>[];
    expect(listed.map(({ id }) => id)).toEqual(Object.keys(systems));
    for (const system of listed) {
      expect(Object.keys(system)).toEqual([
        "id",
        "title",
        "arxiv",
        "policy",
        "task",
        "evidence",
        "blocks",
      ]);
    }
    expect(JSON.parse((await firesteel(["systems", "mc-grpo", "--json"])).out)).toHaveLength(1);
  });
});

test("doctor says what was found and that the kernels are right", async () => {
  const { code, out } = await firesteel(["doctor", "--json"]);
  expect(code).toBe(0);
  const report = JSON.parse(out);
  expect(report).toMatchObject({ firesteel: version, node: process.version });
  expect(report.backends[0]).toMatchObject({ backend: "cpu", selfCheck: "passed" });
  expect(
    report.backends[0].attempts.some(({ reason }: { reason: unknown }) => reason === null),
  ).toBe(true);
  expect((await firesteel(["doctor"])).out).toMatch(/^cpu +.* threads, self-check passed$/m);
});

test("doctor names the device of a run that names none, and who chose it", async () => {
  const before = process.env.FIRESTEEL_DEVICE;
  try {
    process.env.FIRESTEEL_DEVICE = "cpu";
    expect((await firesteel(["doctor"])).out).toMatch(/^default +cpu, by FIRESTEEL_DEVICE$/m);
    process.env.FIRESTEEL_DEVICE = "auto";
    const { default: device, backends } = JSON.parse((await firesteel(["doctor", "--json"])).out);
    expect(device).toBe(backends[1].device === null ? "cpu" : "cuda");
    expect((await firesteel(["doctor"])).out).toMatch(new RegExp(`^default +${device}$`, "m"));
  } finally {
    if (before === undefined) delete process.env.FIRESTEEL_DEVICE;
    else process.env.FIRESTEEL_DEVICE = before;
  }
});
