import { z } from "zod";
import { FiresteelError } from "../engine/error.js";
import type { Progress } from "./run.js";
import type { TrainSettings } from "./settings.js";

/** What state.json holds of a run. */
export interface SavedRun {
  firesteel: string;
  system: string;
  /** The system as printed: what runs, whatever its name. */
  printed: string;
  task: string;
  /** Where the task comes from, for a run that goes on; null: it was given as an object. */
  source: unknown;
  fingerprint: string | null;
  policy: string;
  models: Readonly<Record<string, string>>;
  device: string;
  settings: TrainSettings;
  progress: Progress;
  state: Record<string, unknown>;
}

const count = z.number().int().min(0);
const metrics = z.record(z.string(), z.number().nullable());

/** Settings are checked where a run's are, states where they are read. */
const schema = z.object({
  firesteel: z.string(),
  system: z.string(),
  printed: z.string(),
  task: z.string(),
  source: z.object({ task: z.string().optional() }).loose().nullish(),
  fingerprint: z.string().nullish(),
  policy: z.string(),
  models: z.record(z.string(), z.string()).optional(),
  device: z.enum(["cpu", "cuda", "emulated"]),
  settings: z.record(z.string(), z.unknown()),
  progress: z.object({
    warmStartStep: count,
    begun: z.boolean(),
    step: count,
    updates: count,
    tokens: count,
    seconds: z.number().min(0),
    best: z.object({ step: count, value: z.number() }).nullish(),
    plateau: z.object({ value: z.number(), evaluations: count }).nullish(),
    forced: z.array(z.object({ step: count, differences: z.array(z.string()) })).optional(),
    start: metrics.optional(),
    metrics: metrics.optional(),
  }),
  state: z.record(z.string(), z.unknown()),
});

/**
 * The body of a checkpoint's state.json as what a run goes on from.
 *
 * @param folder for messages
 * @throws FiresteelError ERR_CHECKPOINT naming the first field that is none of a run's
 */
export function checkSavedRun(body: unknown, folder: string): SavedRun {
  const { success, error } = schema.safeParse(body);
  if (success) return body as SavedRun;
  const { path, message } = error.issues[0]!;
  const at = ["body", ...path].join(".");
  throw new FiresteelError(
    "ERR_CHECKPOINT",
    `Expected a run in ${folder}/state.json but ${at} is wrong (${message})`,
  );
}
