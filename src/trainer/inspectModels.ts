import type { Tokenizer } from "../contract/data.js";
import type { Policy } from "../contract/policy.js";
import type { System } from "../contract/system.js";
import { didYouMean, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";

/**
 * Refuses a run whose models are not what its system asks for: one too few, one too many, another kind of
 * actions, another vocabulary, no value head where a loss learns one.
 *
 * @param given models that the user chose, by name
 * @throws FiresteelError ERR_OPTION
 */
export function inspectModels(
  system: System,
  policy: Policy,
  given: Readonly<Record<string, Policy>>,
): void {
  const asked = Object.keys(system.models).filter((name) => system.models[name]!.from === "given");
  for (const name of Object.keys(given)) {
    if (asked.includes(name)) continue;
    const expected = asked.length === 0 ? "no models" : `only ${asked.map(show).join(", ")}`;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected ${expected} for system ${system.id} but received ${show(name)}${didYouMean(name, asked)}`,
    );
  }
  for (const name of asked) inspectModel(system, name, policy, given[name]);
  const learner = system.phases.flatMap(({ loss }) => loss).find(({ value }) => value === true);
  if (learner !== undefined && policy.valueHead !== true) {
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a policy with a value head (${learner.block} of ${system.id} learns it) but it has none`,
    );
  }
}

function inspectModel(system: System, name: string, policy: Policy, model?: Policy): void {
  const expected = `Expected a policy over ${policy.kind} of the same vocabulary as model ${show(name)} of ${system.id}`;
  if (model === undefined) {
    throw new FiresteelError(
      "ERR_OPTION",
      `${expected} (models: { ${name}: ... }, or --model ${name}=DIR) but received none`,
    );
  }
  if (model.kind !== policy.kind) {
    throw new FiresteelError("ERR_OPTION", `${expected} but it acts in ${model.kind}`);
  }
  if (!sameTokens(model.tokenizer, policy.tokenizer)) {
    throw new FiresteelError("ERR_OPTION", `${expected} but its tokens are others`);
  }
}

/** Whether every id stands for the same text. */
function sameTokens(a: Tokenizer | null, b: Tokenizer | null): boolean {
  if (a === null || b === null) return a === b;
  if (a.vocabularySize !== b.vocabularySize || a.endOfSequence !== b.endOfSequence) return false;
  for (let id = 0; id < a.vocabularySize; ++id) {
    const ids = Int32Array.of(id);
    if (a.decode(ids) !== b.decode(ids)) return false;
  }
  return true;
}
