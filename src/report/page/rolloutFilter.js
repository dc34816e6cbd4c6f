// Which rollouts are asked for.

/** Everything of a rollout that the search looks at, in lower case; made once. */
const texts = new WeakMap();

function textOf(group, rollout) {
  let text = texts.get(rollout);
  if (text === undefined) {
    const label = group.label === null ? "" : JSON.stringify(group.label);
    text = [group.prompt, rollout.sampledFrom ?? "", (rollout.tokens ?? []).join(""), label]
      .join("\n")
      .toLowerCase();
    texts.set(rollout, text);
  }
  return text;
}

const outcomes = {
  right: ({ right }) => right === true,
  wrong: ({ right }) => right === false,
};

/** Pairs of group and rollout, in the order asked for. `wanted` has "" where everything is. */
report.matching = (groups, wanted) => {
  const text = wanted.text.toLowerCase();
  const some = (choice, value) => choice === "" || choice === String(value);
  const ordered = wanted.order === "newest" ? newestFirst(groups) : groups;
  return ordered
    .filter(
      ({ step, phase, kind }) =>
        some(wanted.step, step) && some(wanted.phase, phase) && some(wanted.kind, kind),
    )
    .flatMap((group) =>
      group.rollouts
        .filter((rollout) => outcomes[wanted.outcome]?.(rollout) ?? true)
        .filter((rollout) => text === "" || textOf(group, rollout).includes(text))
        .map((rollout) => ({ group, rollout })),
    );
};

/** Later steps first; within a step, the order in which it happened. */
function newestFirst(groups) {
  return [...groups].sort((a, b) => b.step - a.step);
}
