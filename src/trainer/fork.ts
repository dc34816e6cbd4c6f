import type { Actions, Column, Tokenizer, Trajectory } from "../contract/data.js";
import type { SamplePlan } from "../contract/sampler.js";
import { checkInteger } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { concatenate } from "../engine/ragged.js";

type Forkable = Extract<Actions, { kind: "tokens" | "flow" }>;

function forkable({ actions }: Trajectory): Forkable {
  if (actions.kind === "tokens" || actions.kind === "flow") return actions;
  const message = `Expected actions of kind "tokens" or "flow" to fork but received "${actions.kind}"`;
  throw new FiresteelError("ERR_SAMPLER", message);
}

/** How a rollout goes on after its first `at` actions; a flow keeps the times that it began with. */
export function continuation(
  trajectory: Trajectory,
  at: number,
  maxCompletionLength: number,
): Omit<SamplePlan, "counts"> {
  const actions = forkable(trajectory);
  checkInteger("at", at, 0, actions.length);
  const from = trajectory.sampledFrom ?? trajectory.prompt;
  if (actions.kind === "flow") return { prompts: [from], starts: [{ actions, at }] };
  const tokens = concatenate(Int32Array, [from.tokens, actions.ids.subarray(0, at)]);
  return { prompts: [{ ...from, tokens }], maxCompletionLength: maxCompletionLength - at };
}

/** The whole rollout of a continuation: the first `at` actions of its parent, then its own. */
export function continued(
  parent: Trajectory,
  at: number,
  tail: Trajectory,
  tokenizer: Tokenizer | null,
): Trajectory {
  const actions = joined(forkable(parent), at, forkable(tail));
  const columns: Record<string, Column> = {};
  for (const [name, column] of Object.entries(tail.columns)) {
    const before = parent.columns[name];
    if (column.level !== "action" || before?.level !== "action") continue;
    const values = concatenate(Float32Array, [before.values.subarray(0, at), column.values]);
    columns[name] = { level: "action", values };
  }
  return {
    ...tail,
    prompt: parent.prompt,
    sampledFrom: parent.sampledFrom,
    actions,
    mask: concatenate(Uint8Array, [parent.mask.subarray(0, at), tail.mask]),
    columns,
    keys: parent.keys,
    text: actions.kind === "tokens" ? (tokenizer?.decode(actions.ids) ?? tail.text) : tail.text,
    parent: { trajectory: parent.id, at },
  };
}

function joined(parent: Forkable, at: number, tail: Forkable): Forkable {
  if (parent.kind === "tokens" && tail.kind === "tokens") {
    const ids = concatenate(Int32Array, [parent.ids.subarray(0, at), tail.ids]);
    return { kind: "tokens", length: ids.length, ids };
  }
  if (parent.kind === "flow" && tail.kind === "flow") {
    const join = (own: Float32Array, end: number, rest: Float32Array) =>
      concatenate(Float32Array, [own.subarray(0, end), rest]);
    return {
      ...tail,
      length: at + tail.length,
      // The tail begins with the state and the time at which it leaves its parent.
      states: join(parent.states, at * parent.width, tail.states),
      sigmas: join(parent.sigmas, at, tail.sigmas),
      noiseLevels: join(parent.noiseLevels, at, tail.noiseLevels),
    };
  }
  const message = `Expected a continuation in ${parent.kind} but received one in ${tail.kind}`;
  throw new FiresteelError("ERR_SAMPLER", message);
}
