import type { Source } from "../../contract/system.js";
import { integer, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { readQueue, takeBatch, writeQueue } from "./promptQueue.js";

const shape = {
  batch: orNull(
    integer,
    null,
    { min: 1 },
    "prompts that a phase takes; null: as many as the run's promptsPerStep",
  ),
};

/**
 * Prompts that `recycle` has made of rollouts, first in first out: exactly a batch where so many wait,
 * else none, and the phase is left out (SPARK, arXiv 2509.22624; batch 64 there, one to one with the
 * policy's batch).
 */
export function recycled(options: { batch?: number | null } = {}): Source {
  const { values, described } = parseOptions("recycled", shape, options);
  return {
    block: "recycled",
    options: described,
    run(_, ctx) {
      const { epoch, questions } = readQueue(ctx.state, ctx.epoch);
      const { batch, rest } = takeBatch(questions, values.batch ?? ctx.settings.promptsPerStep);
      writeQueue(ctx.state, { epoch, questions: rest });
      return batch.map((question) => ctx.tokenize(question));
    },
  };
}
