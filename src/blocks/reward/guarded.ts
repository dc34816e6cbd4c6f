import pLimit from "p-limit";
import pRetry from "p-retry";
import type { RewardContext, RewardFunction } from "../../contract/reward.js";
import { aFunction, anObject, checkArguments } from "../../engine/arguments.js";
import { show, throwIfAborted } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { choice, integer, number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { rewardRows } from "../../verifiers/rewardRows.js";
import { unfitRewards } from "./reward.js";

/** How often, how long and how many at once a reward is asked. */
export interface GuardOptions {
  /** For one attempt, > 0; null: no limit. Default 60. */
  timeoutSeconds?: number | null;
  /** "all" (default): the whole batch in one call. "each": one call per completion. */
  batch?: "all" | "each";
  /** Calls at once, over all batches, with `batch: "each"`; >= 1, default 8. */
  concurrency?: number;
  /** Further attempts after one that failed, >= 0, default 0. */
  retries?: number;
  /** Before the first further attempt, doubling with each; >= 0, default 0.5. */
  retryDelaySeconds?: number;
  /**
   * What becomes of completions whose attempts all failed. "error" (default); "null": they leave the
   * statistics and are counted.
   */
  onFailure?: "error" | "null";
}

const shape = {
  timeoutSeconds: orNull(
    number,
    60,
    { above: 0, max: 2_000_000 },
    "for one attempt; null: no limit",
  ),
  batch: choice("all", ["all", "each"], "one call for the whole batch, or one per completion"),
  concurrency: integer(8, { min: 1 }, "calls at once, over all batches"),
  retries: integer(0, { min: 0 }, "further attempts after one that failed"),
  retryDelaySeconds: number(0.5, { min: 0 }, "before the first further attempt; doubles"),
  onFailure: choice(
    "error",
    ["error", "null"],
    "what becomes of completions that all attempts failed for",
  ),
};

/**
 * A reward under a time limit, with further attempts and a limit of calls at once. A call fails where
 * it throws, answers too late or gives what is no reward; a late answer is dropped. The call's signal
 * is aborted at its time limit and with the run. Share of completions without a value because of
 * failures: `rewards/{name}/failed_ratio`.
 *
 * A function that never returns to the event loop cannot be interrupted: `workerReward` can.
 *
 * @throws FiresteelError ERR_OPTION for options that are none; the reward throws ERR_REWARD naming the
 *   completion, ERR_ABORTED with the run
 * @example
 * rewards: { judge: guarded(askJudge, { batch: "each", timeoutSeconds: 20, retries: 2, onFailure: "null" }) }
 */
export function guarded(reward: RewardFunction, options: GuardOptions = {}): RewardFunction {
  checkArguments({ reward, options }, { reward: aFunction, options: anObject });
  const each = (all: { batch: string }) => all.batch === "each";
  const { values } = parseOptions("guarded", shape, options, {
    inapplicable: {
      concurrency: (all) => (each(all) ? null : 'it limits the calls of batch "each"'),
      retryDelaySeconds: (all) => (all.retries === 0 ? "there are no retries" : null),
    },
  });
  const limit = pLimit(each(values) ? values.concurrency : Number.POSITIVE_INFINITY);

  async function attempts(
    ctx: RewardContext,
    rows: readonly number[],
  ): Promise<readonly (number | null)[] | null> {
    const part = rewardRows(ctx, rows);
    try {
      return await pRetry(
        async () => {
          const answer = await once(reward, part, values.timeoutSeconds);
          const unfit = unfitRewards(answer, rows.length);
          if (unfit === null) return answer;
          const { at, expected, received } = unfit;
          const where = at === null || rows.length === 1 ? "" : ` for completion ${rows[at]}`;
          throw new Error(`expected ${expected}${where} but received ${show(received)}`);
        },
        {
          retries: values.retries,
          minTimeout: 1000 * values.retryDelaySeconds,
          signal: ctx.signal,
        },
      );
    } catch (cause) {
      throwIfAborted(ctx.signal, "The reward");
      if (values.onFailure === "null") return null;
      const which =
        rows.length === 1 ? `completion ${rows[0]}` : `completions ${rows[0]} to ${rows.at(-1)}`;
      const shown = rows.length === 1 ? ` (${show(ctx.completions[rows[0]!])})` : "";
      const tried = values.retries > 0 ? `, ${values.retries + 1} attempts` : "";
      const message = `${which}${shown}${tried}: ${cause instanceof Error ? cause.message : cause}`;
      throw new FiresteelError("ERR_REWARD", message, { cause });
    }
  }

  return async (ctx) => {
    const all = ctx.completions.map((_, i) => i);
    const parts = each(values) ? all.map((row) => [row]) : all.length > 0 ? [all] : [];
    // One failure ends the batch: what still waits is not begun.
    const stop = following(ctx.signal);
    const inner = { ...ctx, signal: stop.signal };
    const calls = parts.map((rows) =>
      limit(() =>
        attempts(inner, rows).catch((error) => {
          stop.abort(error);
          throw error;
        }),
      ),
    );
    const answers = await Promise.all(calls).finally(stop.release);
    const failed = parts.filter((_, i) => answers[i] === null).flat().length;
    ctx.measure?.("failed_ratio", { kind: "mean", sum: failed, count: all.length });
    return parts.flatMap((rows, i) => answers[i] ?? rows.map(() => null));
  };
}

/** One attempt: what comes after its time, or after the signal, is nobody's. */
async function once(
  reward: RewardFunction,
  ctx: RewardContext,
  timeoutSeconds: number | null,
): Promise<readonly (number | null)[]> {
  const { signal, abort, release } = following(ctx.signal);
  const late = () => abort(new Error(`no answer within ${timeoutSeconds} s`));
  const timer = timeoutSeconds === null ? undefined : setTimeout(late, 1000 * timeoutSeconds);
  const ended = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  try {
    return await Promise.race([ended, (async () => reward({ ...ctx, signal }))()]);
  } catch (error) {
    // p-retry takes a TypeError for a mistake of its caller's and does not try again.
    throw error instanceof TypeError ? new Error(error.message, { cause: error }) : error;
  } finally {
    clearTimeout(timer);
    release();
  }
}

/**
 * A signal that is aborted with another, until it is released: nothing of it stays with a run's own.
 */
function following(leader: AbortSignal) {
  const own = new AbortController();
  const follow = () => own.abort(leader.reason);
  if (leader.aborted) follow();
  leader.addEventListener("abort", follow, { once: true });
  return {
    signal: own.signal,
    abort: (reason: unknown) => own.abort(reason),
    release: () => leader.removeEventListener("abort", follow),
  };
}
