import { z } from "zod";
import type { Label } from "../../contract/data.js";
import type { RecordedRollout } from "./rollout.js";

const label: z.ZodType<Label> = z.lazy(() =>
  z.union([z.string(), z.number(), z.boolean(), z.array(label), z.record(z.string(), label)]),
);
const values = z.array(z.number().nullable());

/** A line of rollouts.jsonl as it is read back: a disk, or a hand, may have changed it. */
export const rolloutLine: z.ZodType<RecordedRollout> = z.object({
  every: z.number(),
  step: z.number(),
  phase: z.string(),
  kind: z.string().nullable(),
  group: z.string(),
  rollout: z.number(),
  prompt: z.string(),
  sampledFrom: z.string().nullable(),
  label: label.nullable(),
  tokens: z.array(z.string()).nullable(),
  advantage: values.nullable(),
  logProb: values.nullable(),
  weight: values.nullable(),
  mask: z.array(z.number()),
  rewards: z.record(z.string(), z.number().nullable()),
  reward: z.number().nullable(),
  right: z.boolean().nullable(),
  finish: z.enum(["stop", "length", "abort", "error"]),
  cut: z.number(),
});
