import { z } from "zod";
import type { Finish } from "../contract/data.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";

/** One rollout made elsewhere. N tokens. */
export interface Rollout {
  /** Where it stands in the file; counts from 1. */
  line: number;
  id: string | number | null;
  /** Rollouts of one group are compared with each other. */
  group: string | number;
  /** Null: leaves the statistics. Undefined: `rewards` are given instead. */
  reward?: number | null;
  rewards?: Record<string, number | null>;
  /** Under the policy being trained, [N]. */
  logProbs: Float32Array;
  /** Under the policy that the step started from, [N]. */
  oldLogProbs: Float32Array;
  refLogProbs: Float32Array | null;
  samplerLogProbs: Float32Array | null;
  entropies: Float32Array | null;
  /** 1 = trained, [N]. */
  mask: Uint8Array;
  finish: Finish;
}

/** Beyond it the kernels' float32 has none. */
const MAX_FLOAT32 = 3.4028234663852886e38;
const number = z.number().min(-MAX_FLOAT32).max(MAX_FLOAT32);
const numbers = z.array(number);
const schema = z
  .object({
    id: z.union([z.string(), z.number()]).optional(),
    group: z.union([z.string(), z.number()]),
    reward: number.nullable().optional(),
    rewards: z.record(z.string(), number.nullable()).optional(),
    logProbs: numbers,
    oldLogProbs: numbers,
    refLogProbs: numbers.nullable().optional(),
    samplerLogProbs: numbers.nullable().optional(),
    entropies: numbers.nullable().optional(),
    mask: z
      .array(z.union([z.literal(0), z.literal(1), z.boolean()]))
      .nullable()
      .optional(),
    finish: z.enum(["stop", "length", "abort", "error"]).optional(),
  })
  .refine((r) => (r.reward === undefined) !== (r.rewards === undefined), {
    message: "either reward or rewards",
  });

const expected: Readonly<Record<string, string>> = {
  id: "a string or a number",
  group: "a string or a number",
  reward: "a number or null",
  rewards: "an object of numbers or nulls",
  mask: "an array of 0 and 1",
  finish: 'one of "stop", "length", "abort", "error"',
};

/**
 * A line of the file as a rollout. Fields that are not named above are left alone.
 *
 * @throws FiresteelError ERR_RANGE naming the line, what was expected and what came
 */
export function parseRollout(text: string, line: number): Rollout {
  const wrong = (what: string) => new FiresteelError("ERR_RANGE", `line ${line}: ${what}`);
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw wrong(`Expected JSON but received a line that is none: ${(error as Error).message}`);
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw wrong(explain(given, parsed.error.issues[0]!));
  const r = parsed.data;
  const { length } = r.logProbs;
  for (const [name, list] of Object.entries({ ...lists(r), mask: r.mask ?? null })) {
    if (list !== null && list.length !== length) {
      throw wrong(
        `Expected ${length} values, as in logProbs, for ${name} but received ${list.length}`,
      );
    }
  }
  const floats = (list: number[] | null) => (list === null ? null : Float32Array.from(list));
  const { logProbs, oldLogProbs, refLogProbs, samplerLogProbs, entropies } = lists(r);
  return {
    line,
    id: r.id ?? null,
    group: r.group,
    reward: r.reward,
    rewards: r.rewards,
    logProbs: Float32Array.from(logProbs),
    oldLogProbs: Float32Array.from(oldLogProbs),
    refLogProbs: floats(refLogProbs),
    samplerLogProbs: floats(samplerLogProbs),
    entropies: floats(entropies),
    mask: r.mask ? Uint8Array.from(r.mask, Number) : new Uint8Array(length).fill(1),
    finish: r.finish ?? "stop",
  };
}

function lists(r: z.infer<typeof schema>) {
  return {
    logProbs: r.logProbs,
    oldLogProbs: r.oldLogProbs,
    refLogProbs: r.refLogProbs ?? null,
    samplerLogProbs: r.samplerLogProbs ?? null,
    entropies: r.entropies ?? null,
  };
}

function explain(given: unknown, issue: z.core.$ZodIssue): string {
  const [name, ...inner] = issue.path.map(String);
  if (name === undefined) {
    if (typeof given !== "object" || given === null || Array.isArray(given)) {
      return `Expected an object but received ${show(given)}`;
    }
    const both = "reward" in given && "rewards" in given;
    return `Expected either reward or rewards but received ${both ? "both" : "neither"}`;
  }
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown>)?.[key],
    given,
  );
  const large = typeof value === "number" && Math.abs(value) > MAX_FLOAT32;
  const received = `${show(value)}${large ? " (beyond float32)" : ""}`;
  if (inner.length === 0) {
    return `Expected ${expected[name] ?? "an array of numbers"} for ${name} but received ${received}`;
  }
  const element = name === "rewards" ? "a number or null" : name === "mask" ? "0 or 1" : "a number";
  const at = name === "rewards" ? `rewards.${inner[0]}` : `${name}[${inner[0]}]`;
  return `Expected ${element} for ${at} but received ${received}`;
}
