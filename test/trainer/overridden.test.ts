import { join } from "node:path";
import { expect, test } from "vitest";
import { train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { shortTask, small } from "./runs.js";

test("a minibatch size is refused where every phase of the system has its own", async () => {
  const out = join(await temporaryFolder(), "run");
  await expect(train({ ...small, system: "spark-balanced", out })).rejects.toMatchObject({
    code: "ERR_OPTION",
    message:
      "Expected nothing (system spark-balanced has its own: 256 and 32) for train.minibatchSize but received 8",
  });
  await expect(train({ ...small, system: "dpo" })).rejects.toThrow(/system dpo has its own: 16\)/);

  // The task's default is nobody's wish; on resume a wish is refused as well.
  const { minibatchSize: _, ...unsized } = small;
  await train({ ...unsized, system: "spark-balanced", steps: 1, out });
  const again = { resume: out, task: shortTask, steps: 2 };
  await expect(train({ ...again, minibatchSize: 64 })).rejects.toThrow(
    /spark-balanced has its own.* but received 64/,
  );
  await expect(train(again)).resolves.toMatchObject({ steps: 2 });
});
