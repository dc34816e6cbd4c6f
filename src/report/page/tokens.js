// A completion token by token: its colour is the advantage, what else is known is told on demand.

const { byId, element, number, share, signed } = report.format;

/** Tokens shown of a long completion before somebody asks for the rest. */
const shownAtFirst = 400;
const at = (values, i) => (Array.isArray(values) ? values[i] : values);

/** The largest advantage of all, which has the full colour. */
let largest = 1;

function measure(groups) {
  const sizes = groups.flatMap(({ rollouts }) =>
    rollouts.flatMap(({ advantage }) => [advantage].flat().map((value) => Math.abs(value ?? 0))),
  );
  largest = sizes.reduce((most, size) => Math.max(most, size), 0) || 1;
}

function describe(rollout, i) {
  const text = rollout.tokens[i];
  const logProb = at(rollout.logProb, i);
  const weight = at(rollout.weight, i);
  const advantage = at(rollout.advantage, i);
  return [
    text === "" ? endOf(rollout, i) : JSON.stringify(text),
    at(rollout.mask, i) === 0 ? "not trained" : null,
    advantage === null ? null : `advantage ${signed(advantage)}`,
    logProb === null ? null : `probability ${share(Math.exp(logProb))} (log ${number(logProb)})`,
    weight === null ? null : `weight ${number(weight)}`,
  ]
    .filter((part) => part !== null)
    .join(" · ");
}

function endOf({ tokens, finish }, i) {
  return i === tokens.length - 1 && finish === "stop" ? "end of completion" : "part of a character";
}

function visible(rollout, i) {
  const text = rollout.tokens[i];
  if (text === "") return endOf(rollout, i) === "end of completion" ? "∎" : "";
  return text.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
}

function tokenElement(rollout, i, found) {
  const advantage = at(rollout.advantage, i) ?? 0;
  const made = element("span", { className: "token" }, visible(rollout, i));
  made.dataset.index = i;
  if (rollout.tokens[i] === "") made.classList.add("end");
  if (at(rollout.mask, i) === 0) made.classList.add("untrained");
  else if (advantage !== 0) made.classList.add(advantage > 0 ? "positive" : "negative");
  if (found) made.classList.add("found");
  made.style.setProperty("--strength", Math.min(1, Math.abs(advantage) / largest).toFixed(3));
  return made;
}

/** Whether each token takes part in the first place where `text` is found. */
function foundIn(tokens, text) {
  const begin = text === "" ? -1 : tokens.join("").toLowerCase().indexOf(text);
  let position = 0;
  return tokens.map((token) => {
    const [from, to] = [position, position + token.length];
    position = to;
    return begin >= 0 && to > begin && from < begin + text.length;
  });
}

/** The tokens as a paragraph that arrow keys walk through. */
function completion(rollout, text, label) {
  const { tokens, cut } = rollout;
  if (tokens === null) return element("p", { className: "completion none" }, "no text");
  const found = foundIn(tokens, text);
  const made = element("p", {
    className: "completion",
    tabIndex: 0,
    role: "group",
    "aria-label": label,
  });
  const show = (from, to) => {
    for (let i = from; i < to; ++i) made.append(tokenElement(rollout, i, found[i]));
  };
  show(0, Math.min(tokens.length, shownAtFirst));
  if (tokens.length > shownAtFirst) {
    const more = element("button", { type: "button" }, `all ${number(tokens.length)} tokens`);
    more.addEventListener("click", () => {
      more.remove();
      show(shownAtFirst, tokens.length);
    });
    made.append(more);
  }
  if (cut > 0) made.append(element("em", {}, ` … ${number(cut)} more tokens were not recorded`));
  listen(made, rollout);
  return made;
}

function listen(box, rollout) {
  let current = -1;
  const tell = (target) => {
    current = Number(target.dataset.index);
    showTip(target, describe(rollout, current));
  };
  const under = (event) => event.target.closest(".token");
  for (const kind of ["pointerover", "click"]) {
    box.addEventListener(kind, (event) => under(event) !== null && tell(under(event)));
  }
  box.addEventListener("pointerleave", hideTip);
  box.addEventListener("blur", hideTip);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hideTip();
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const all = box.querySelectorAll(".token");
    if (by === undefined || all.length === 0) return;
    event.preventDefault();
    tell(all[Math.min(all.length - 1, Math.max(0, current + by))]);
  });
}

let marked = null;

function showTip(target, text) {
  hideTip();
  const tip = byId("token");
  tip.textContent = text;
  tip.hidden = false;
  marked = target;
  target.classList.add("current");
  const place = target.getBoundingClientRect();
  const left = Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = place.top - tip.offsetHeight - 6;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : place.bottom + 6}px`;
}

function hideTip() {
  byId("token").hidden = true;
  marked?.classList.remove("current");
  marked = null;
}

addEventListener("scroll", hideTip, { passive: true });

/** What the colours mean. */
function key() {
  const sample = (className, text) => {
    const made = element("span", { className: `token ${className}` }, text);
    made.style.setProperty("--strength", "1");
    return made;
  };
  return [
    element("span", {}, "Advantage of a token:"),
    element(
      "span",
      { className: "scale" },
      element("span", {}, `−${number(largest)}`),
      element("span", { className: "ramp" }),
      element("span", {}, `+${number(largest)}`),
    ),
    element("span", {}, sample("untrained", "not trained")),
    element("span", {}, sample("end", "∎"), " end of completion"),
  ];
}

report.tokens = { measure, completion, key };
