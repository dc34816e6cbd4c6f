import { Engine } from "../../engine/engine.js";
import type { FiresteelError } from "../../engine/error.js";
import { linearLogProb, linearLogProbBackward } from "../../engine/kernels/linearLogProb.js";
import { linearLogProbMemory } from "../../engine/kernels/linearLogProbMemory.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits } from "../compare.js";
import { family, type LinearCaseOptions, makeLinearCase, uploadHead } from "./values.js";

/** An engine of its own with all inputs on it. */
function ownHead(engine: Engine, options: LinearCaseOptions, memoryLimit?: number) {
  const own = new Engine({ device: engine.device, threads: 1, memoryLimit });
  const c = makeLinearCase(options);
  const [hidden, weight] = uploadHead(own, c);
  const targets = own.tensor(c.targets);
  const [stats, dLogProb] = [own.zeros([options.tokens, 2]), own.tensor(c.dLogProb!)];
  return { own, head: { hidden, weight, targets, stats, dLogProb } };
}

/** Bytes that a call takes at most, beyond the tensors that it returns. */
function taken(engine: Engine, call: () => readonly Tensor[]): number {
  const before = engine.memory().live;
  const results = call();
  results[0]!.readSync();
  const { live, peak } = engine.memory();
  for (const { shape } of results) engine.empty(shape);
  return peak - before - (engine.memory().live - live);
}

function exactMemory(size: LinearCaseOptions, chunkBytes: number | undefined): Check {
  const chunk = chunkBytes === undefined ? "the default chunk" : `a chunk of ${chunkBytes} bytes`;
  return {
    family,
    name: `calls with ${chunk} take exactly the memory that is reported for them`,
    run(engine) {
      const { tokens, vocab, width: hidden } = size;
      const shape = { tokens, vocab, hidden, dtype: "bf16", chunkBytes } as const;
      const told = linearLogProbMemory({ ...shape, device: engine.device });
      const passes = {
        forward(own: Engine, { hidden, weight, targets }: Inputs): Tensor[] {
          const { logProb, stats } = linearLogProb(own, hidden, weight, targets, { chunkBytes });
          return [logProb, stats];
        },
        backward(own: Engine, inputs: Inputs): Tensor[] {
          const { dHidden, dWeight } = linearLogProbBackward(own, { ...inputs, chunkBytes });
          return [dHidden, dWeight!];
        },
      };
      return firstOf(
        ...(["forward", "backward"] as const).map((pass) => {
          const { own, head } = ownHead(engine, { ...size, dtype: "bf16" });
          try {
            const bytes = taken(own, () => passes[pass](own, head));
            return close(`bytes of the ${pass} pass`, [bytes], [told[pass]], 0);
          } finally {
            own.dispose();
          }
        }),
      );
    },
  };
}
type Inputs = ReturnType<typeof ownHead>["head"];

function tooLittleMemory(size: LinearCaseOptions, chunkBytes: number): Check {
  return {
    family,
    name: "without room for a chunk the call is refused, and a smaller chunk gives the same bits",
    run(engine) {
      const roomy = ownHead(engine, size);
      const want = linearLogProbBackward(roomy.own, roomy.head);
      const [dHidden, dWeight] = [want.dHidden.readSync(), want.dWeight!.readSync()];
      const limit = roomy.own.memory().peak - 1;
      roomy.own.dispose();
      const { own, head } = ownHead(engine, size, limit);
      try {
        const before = own.memory().live;
        const refused = codeOf(() => linearLogProbBackward(own, head));
        if (refused !== "ERR_OUT_OF_MEMORY") return `refused with ${refused}`;
        if (own.memory().live !== before) return "the refused call left memory behind";
        const got = linearLogProbBackward(own, { ...head, chunkBytes });
        return firstOf(
          sameBits("dHidden", got.dHidden.readSync(), dHidden),
          sameBits("dWeight", got.dWeight!.readSync(), dWeight),
        );
      } finally {
        own.dispose();
      }
    },
  };
}

/** The code of what `run` throws, or null. */
function codeOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (error) {
    return (error as FiresteelError).code;
  }
}

/** What calls take is told before, and too little of it is an error. */
export function linearLogProbMemoryChecks(device: Engine["device"]): Check[] {
  const size = { tokens: 9, vocab: device === "emulated" ? 300 : 9001, width: 5 };
  // A block of columns; on CUDA one whole row, or 128 columns of all.
  const least = 4 * (device === "cpu" ? 4096 : Math.max(size.vocab, 128 * size.tokens));
  return [
    ...[undefined, device === "cpu" ? 40_000 : 6 * 4 * size.vocab].map((chunkBytes) =>
      exactMemory(size, chunkBytes),
    ),
    tooLittleMemory(size, least),
  ];
}
