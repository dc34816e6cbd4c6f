import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import pLimit from "p-limit";
import { z } from "zod";
import type { RewardContext, RewardFunction } from "../../contract/reward.js";
import { invalid } from "../../engine/checks.js";
import { integer, number, type Option, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/** How many workers, and how long one may take. */
export interface WorkerRewardOptions {
  /** Which export of the module is the reward function; default "default". */
  export?: string;
  /** Threads, and so calls at once; >= 1, default 1. Each is started with its first call. */
  workers?: number;
  /** For one call, > 0; null: no limit. Default 60. */
  timeoutSeconds?: number | null;
}

/** A reward whose threads can be ended. Idle threads hold no process open. */
export interface WorkerReward extends RewardFunction {
  /** Ends all threads; a call in flight fails, a later one starts them anew. */
  dispose(): Promise<void>;
}

const exported: Option<string> = {
  schema: z.string().min(1),
  expected: "a name",
  default: "default",
  description: "which export of the module is the reward function",
};
const shape = {
  export: exported,
  workers: integer(1, { min: 1, max: 256 }, "threads, and so calls at once"),
  timeoutSeconds: orNull(number, 60, { above: 0, max: 2_000_000 }, "for one call; null: no limit"),
};

/**
 * What a thread runs: loads the module, then answers one call after the other. As text, so that it is
 * the same from sources, from the package and from a bundle.
 */
const threadCode = `
const { parentPort, workerData } = require("node:worker_threads");
const loading = import(workerData.module).then((module) => {
  const reward = module[workerData.name];
  if (typeof reward === "function") return reward;
  throw new Error("Expected a function as export " + JSON.stringify(workerData.name) + " of " + workerData.module);
});
loading.catch(() => {});
parentPort.on("message", async ({ call, ctx }) => {
  try {
    const reward = await loading;
    const values = await reward({ ...ctx, signal: new AbortController().signal });
    parentPort.postMessage({ call, values });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    parentPort.postMessage({ call, error: message });
  }
});
`;

/**
 * A reward that runs in worker threads: work that is heavy or may not end, beside this process's
 * event loop. A thread that does not answer in time, or whose call's signal is aborted, is terminated
 * and replaced with the next call; what it still had to say is lost with it. The function sees what
 * rewards see, copied, with a signal that is never aborted. A thread is no sandbox: what a model
 * wrote needs one.
 *
 * @param module a URL, or a path from the working folder
 * @throws FiresteelError ERR_OPTION for options that are none. The reward throws where the module
 *   cannot be loaded, the function throws, its thread dies or time is over; `guarded` says for which
 *   completion, tries again or counts
 * @example
 * const tests = workerReward(new URL("./runTests.js", import.meta.url), { workers: 4, timeoutSeconds: 10 });
 * rewards: { tests: guarded(tests, { batch: "each", concurrency: 4, onFailure: "null" }) }
 */
export function workerReward(
  module: string | URL,
  options: WorkerRewardOptions = {},
): WorkerReward {
  if (!(module instanceof URL) && (typeof module !== "string" || module === "")) {
    throw invalid("ERR_OPTION", "module", "a URL or a path", module);
  }
  const { values } = parseOptions("workerReward", shape, options);
  const url = module instanceof URL ? module : pathToFileURL(resolve(module));
  const data = { module: url.href, name: values.export };
  const idle = new Set<Worker>();
  const all = new Set<Worker>();
  const limit = pLimit(values.workers);
  let calls = 0;

  function thread(): Worker {
    const [waiting] = idle;
    if (waiting !== undefined) {
      idle.delete(waiting);
      waiting.ref();
      return waiting;
    }
    const worker = new Worker(threadCode, { eval: true, workerData: data });
    all.add(worker);
    // A call hears of its thread's end by itself; an idle one's, by a stray timer, is nobody's error.
    worker.on("error", () => {});
    worker.once("exit", () => {
      all.delete(worker);
      idle.delete(worker);
    });
    return worker;
  }

  async function call(ctx: RewardContext): Promise<readonly (number | null)[]> {
    ctx.signal.throwIfAborted();
    const worker = thread();
    const number = calls++;
    let release = () => {};
    try {
      const answer = await new Promise<readonly (number | null)[]>((fulfil, reject) => {
        const hear = (reply: { call: number; values?: (number | null)[]; error?: string }) => {
          if (reply.call !== number) return;
          if (reply.error === undefined) fulfil(reply.values!);
          else reject(new Failed(reply.error));
        };
        const died = (error: unknown) =>
          reject(error instanceof Error ? error : new Error("its thread ended"));
        const stopped = () => reject(ctx.signal.reason);
        const { timeoutSeconds } = values;
        const timer =
          timeoutSeconds === null
            ? undefined
            : setTimeout(
                () =>
                  reject(new Error(`no answer within ${timeoutSeconds} s; its thread was ended`)),
                1000 * timeoutSeconds,
              );
        worker.on("message", hear).once("error", died).once("exit", died);
        ctx.signal.addEventListener("abort", stopped, { once: true });
        release = () => {
          clearTimeout(timer);
          worker.off("message", hear).off("error", died).off("exit", died);
          ctx.signal.removeEventListener("abort", stopped);
        };
        const { prompts, completions, trajectories, columns } = ctx;
        worker.postMessage({ call: number, ctx: { prompts, completions, trajectories, columns } });
      });
      rest(worker);
      return answer;
    } catch (error) {
      if (error instanceof Failed) rest(worker);
      else await end(worker);
      throw error;
    } finally {
      release();
    }
  }

  function rest(worker: Worker): void {
    worker.unref();
    if (all.has(worker)) idle.add(worker);
  }

  async function end(worker: Worker): Promise<void> {
    all.delete(worker);
    idle.delete(worker);
    await worker.terminate();
  }

  const reward: RewardFunction = (ctx) => limit(() => call(ctx));
  return Object.assign(reward, {
    dispose: async () => {
      await Promise.all([...all].map((worker) => worker.terminate()));
    },
  });
}

/** The function threw: its thread is as good as before. */
class Failed extends Error {}
