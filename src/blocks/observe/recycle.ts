import type { Observer } from "../../contract/system.js";
import { choice } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { readQueue, writeQueue } from "../source/promptQueue.js";
import {
  finished,
  fits,
  formsOf,
  inspectRecycling,
  type RecyclingOptions,
  recyclingShape,
  settled,
} from "./recycleOptions.js";
import { recycleStep } from "./recycleStep.js";

const shape = {
  ...recyclingShape,
  clear: choice("epoch", ["epoch", "never"], "when prompts that still wait are dropped"),
};

export interface RecycleOptions extends RecyclingOptions {
  /** "epoch" (default): what waits is dropped where an epoch begins; "never": it waits on. */
  clear?: "epoch" | "never";
}

/**
 * Makes new prompts of a phase's finished rollouts, before any filter, and queues them for `recycled`:
 * is this answer right, which of these two is, and try again after this attempt. Their labels are the
 * verdicts that the rollouts have got, and the question's own for reflection (SPARK, arXiv 2509.22624,
 * section 3). The queue is emptied where an epoch begins (unless told otherwise) and is saved with every
 * checkpoint; what would not fit the policy's context is left out and counted. Draws come from a stream of
 * its own.
 *
 * Reports recycle/{judge,reflection,queue,too_long}: prompts made by this step, waiting after it, and
 * left out.
 */
export function recycle(options: RecycleOptions = {}): Observer {
  const { values, described } = parseOptions("recycle", shape, options);
  return {
    block: "recycle",
    options: described,
    inspect: (run) => inspectRecycling("recycle", values, run),
    run({ groups }, ctx) {
      const forms = formsOf(values, ctx);
      const { questions } = readQueue(ctx.state, ctx.epoch);
      const made = recycleStep(
        finished(groups, forms),
        forms,
        settled(values, ctx.settings),
        ctx.uniformOf("recycle"),
      );
      const fitting = made.filter(fits(ctx));
      const queue = [...questions, ...fitting];
      const epoch = values.clear === "epoch" ? ctx.epoch : null;
      writeQueue(ctx.state, { epoch, questions: queue });
      const reflections = fitting.filter(({ kind }) => kind?.startsWith("reflect")).length;
      const counts = {
        judge: fitting.length - reflections,
        reflection: reflections,
        queue: queue.length,
        too_long: made.length - fitting.length,
      };
      for (const [name, sum] of Object.entries(counts)) {
        ctx.measure(`recycle/${name}`, { kind: "mean", sum, count: 1 });
      }
    },
  };
}
