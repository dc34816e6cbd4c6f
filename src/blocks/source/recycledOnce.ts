import type { Question } from "../../contract/data.js";
import type { StepContext } from "../../contract/stage.js";
import type { StateValue } from "../../contract/state.js";
import type { Source } from "../../contract/system.js";
import { FiresteelError } from "../../engine/error.js";
import { integer, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import {
  finished,
  fits,
  formsOf,
  inspectRecycling,
  type RecyclingOptions,
  recyclingShape,
  settled,
} from "../observe/recycleOptions.js";
import { recycleStep } from "../observe/recycleStep.js";
import { intoGroups } from "../rollout/rollout.js";

const shape = {
  ...recyclingShape,
  policyBatches: integer(8, { min: 1 }, "batches of the reference's rollouts that it is made of"),
  batch: orNull(integer, null, { min: 1 }, "prompts that a phase takes; null: promptsPerStep"),
};

export interface RecycledOnceOptions extends RecyclingOptions {
  /** Batches of promptsPerStep prompts whose rollouts are recycled, >= 1; default 8. */
  policyBatches?: number;
  /** Prompts that a phase takes, >= 1; null (default): promptsPerStep. */
  batch?: number | null;
}

const poolKey = "recycledOnce/pool";
const takenKey = "recycledOnce/taken";

/**
 * What `recycle` would have made of the initial policy's rollouts, made once, at the first step, and asked
 * over and over in the same order: the judge's data do not co-evolve with the policy (an ablation of
 * SPARK, arXiv 2509.22624, table 3). `recycled` could not do it: its prompts are always fresh. Rollouts
 * come from the model "reference", which a loss with a KL term keeps; their prompts are the task's next
 * ones.
 */
export function recycledOnce(options: RecycledOnceOptions = {}): Source {
  const { values, described } = parseOptions("recycledOnce", shape, options);

  async function makePool(ctx: StepContext): Promise<Question[]> {
    const forms = formsOf(values, ctx);
    const uniform = ctx.uniformOf("recycledOnce");
    const { promptsPerStep, numGenerations } = ctx.settings;
    const pool: Question[] = [];
    for (let i = 0; i < values.policyBatches; ++i) {
      const prompts = ctx.prompts(promptsPerStep);
      const plan = { prompts, counts: numGenerations, model: "reference" };
      const rewarded = await ctx.reward(await ctx.sample(plan));
      const groups = finished(intoGroups(prompts, rewarded, numGenerations), forms);
      pool.push(...recycleStep(groups, forms, settled(values, ctx.settings), uniform));
    }
    return pool.filter(fits(ctx));
  }

  return {
    block: "recycledOnce",
    options: described,
    inspect(run) {
      if (run.models?.includes("reference") === false) {
        throw new FiresteelError(
          "ERR_OPTION",
          'Expected a loss that keeps the model "reference" (surrogate.beta above 0) beside ' +
            "recycledOnce but there is none",
        );
      }
      return inspectRecycling("recycledOnce", values, run);
    },
    async run(_, ctx) {
      let pool = ctx.state.get<StateValue>(poolKey, null) as unknown as Question[] | null;
      if (pool === null) {
        pool = await makePool(ctx);
        ctx.state.set(poolKey, pool as unknown as StateValue);
      }
      if (pool.length === 0) return [];
      const all = pool;
      const taken = ctx.state.get(takenKey, 0);
      const size = values.batch ?? ctx.settings.promptsPerStep;
      ctx.state.set(takenKey, taken + size);
      return Array.from({ length: size }, (_, i) => ctx.tokenize(all[(taken + i) % all.length]!));
    },
  };
}
