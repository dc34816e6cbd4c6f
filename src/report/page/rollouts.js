// The browser of recorded rollouts: filters, pages, groups.

const { byId, element, number, signed } = report.format;
const perPage = 32;

const plural = (count, name) => `${number(count)} ${name}${count === 1 ? "" : "s"}`;

/** Choices of a select; one with nothing to choose is not shown. */
function fill(select, name, values) {
  select.append(
    element("option", { value: "" }, "all"),
    ...values.map((value) => element("option", { value: String(value) }, name(value))),
  );
  select.parentElement.hidden = values.length < 2;
}

const distinct = (values) => [...new Set(values)].filter((value) => value !== null);

function outcomeOf({ right }) {
  if (right === null) return element("span", { className: "outcome" }, "unjudged");
  const text = right ? "✓ right" : "✗ wrong";
  return element("span", { className: `outcome ${right ? "right" : "wrong"}` }, text);
}

function factsOf(rollout) {
  const { rewards, reward, advantage, tokens, finish, cut } = rollout;
  const several = Object.keys(rewards).length > 1;
  const parts = [
    `reward ${number(reward)}`,
    several
      ? Object.entries(rewards)
          .map(([name, value]) => `${name} ${number(value)}`)
          .join(", ")
      : null,
    typeof advantage === "number" ? `advantage ${signed(advantage)}` : null,
    rollout.mask === 0 ? "not trained" : null,
    tokens === null ? null : plural(tokens.length + cut, "token"),
    finish === "stop" ? null : { length: "truncated", abort: "aborted", error: "error" }[finish],
  ];
  const text = parts.filter((part) => part !== null).join(" · ");
  return element("p", { className: "facts" }, outcomeOf(rollout), " ", text);
}

/** Too much to read in a column. */
const isLong = ({ tokens }) => tokens !== null && tokens.join("").length > 120;

function rolloutElement(group, rollout, text) {
  const index = group.rollouts.indexOf(rollout) + 1;
  const label = `Completion ${index} of step ${group.step}; arrow keys walk through its tokens`;
  const from = rollout.sampledFrom;
  return element(
    "li",
    { className: isLong(rollout) ? "rollout long" : "rollout" },
    factsOf(rollout),
    from === null
      ? null
      : element("p", { className: "from" }, "sampled from: ", element("span", {}, from)),
    report.tokens.completion(rollout, text, label),
  );
}

function labelElement(label) {
  if (label === null) return null;
  const text = typeof label === "string" ? label : JSON.stringify(label);
  return element("p", { className: "label" }, "label ", element("code", {}, text));
}

function groupElement(group, rollouts, text) {
  const { step, phase, kind, prompt, label } = group;
  const right = group.rollouts.filter((rollout) => rollout.right === true).length;
  const head = [
    `step ${number(step)}`,
    phase,
    kind === phase ? null : kind,
    `${right} of ${plural(group.rollouts.length, "rollout")} right`,
  ];
  return element(
    "article",
    { className: "group" },
    element("h3", {}, head.filter((part) => part !== null).join(" · ")),
    element(
      "div",
      { className: "asked" },
      element("p", { className: "prompt" }, prompt),
      labelElement(label),
    ),
    element("ul", {}, ...rollouts.map((rollout) => rolloutElement(group, rollout, text))),
  );
}

/** Consecutive rollouts of one group as one element. */
function draw(parts, text) {
  const runs = [];
  for (const { group, rollout } of parts) {
    if (runs.at(-1)?.group === group) runs.at(-1).rollouts.push(rollout);
    else runs.push({ group, rollouts: [rollout] });
  }
  byId("groups").replaceChildren(
    ...runs.map(({ group, rollouts }) => groupElement(group, rollouts, text)),
  );
}

function hintOf({ embedded, recorded }) {
  if (recorded === 0) return "No rollouts were recorded.";
  const fewer =
    embedded === recorded
      ? ""
      : ` ${number(embedded)} of ${number(recorded)} recorded rollouts are in this page, of evenly chosen steps; rollouts.jsonl has all.`;
  return `What the policy wrote, and what each token was taught: blue is encouraged, orange discouraged.${fewer}`;
}

report.drawRollouts = ({ rollouts }) => {
  const { groups } = rollouts;
  byId("rollouts-hint").textContent = hintOf(rollouts);
  const form = byId("filters");
  for (const id of ["filters", "key", "pager"]) byId(id).hidden = groups.length === 0;
  if (groups.length === 0) return;
  const { text, step, phase, kind, outcome, order } = form.elements;
  fill(step, (value) => number(value), distinct(groups.map((group) => group.step)));
  fill(phase, String, distinct(groups.map((group) => group.phase)));
  fill(kind, String, distinct(groups.map((group) => group.kind)));
  report.tokens.measure(groups);
  byId("key").append(...report.tokens.key());

  let page = 0;
  const show = () => {
    const wanted = Object.fromEntries(
      Object.entries({ text, step, phase, kind, outcome, order }).map(([name, { value }]) => [
        name,
        value,
      ]),
    );
    const found = report.matching(groups, wanted);
    const begin = page * perPage;
    const end = Math.min(found.length, begin + perPage);
    byId("count").textContent =
      found.length === 0
        ? "No rollout matches."
        : `${number(begin + 1)} to ${number(end)} of ${plural(found.length, "rollout")}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = end === found.length;
    draw(found.slice(begin, end), wanted.text.toLowerCase());
  };
  const turn = (by) => {
    page += by;
    show();
    byId("pager").scrollIntoView({ block: "nearest" });
  };
  const again = () => {
    page = 0;
    show();
  };
  form.addEventListener("input", again);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  show();
};
