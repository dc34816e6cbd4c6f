// Light, dark, or as the system has it.

const { byId } = report.format;
const names = ["auto", "light", "dark"];
const root = document.documentElement;
const listeners = [];

/** Canvases know no style sheets: a probe says what a colour's variable stands for right now. */
const probe = report.format.element("span", { hidden: true });
document.body.append(probe);

function color(variable) {
  probe.style.color = `var(--${variable})`;
  return getComputedStyle(probe).color;
}

function change(name) {
  root.dataset.theme = name;
  for (const listener of listeners) listener();
}

function toggle() {
  const name = names[(names.indexOf(root.dataset.theme) + 1) % names.length];
  byId("theme").textContent = `Theme: ${name}`;
  change(name);
}

byId("theme").addEventListener("click", toggle);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  change(root.dataset.theme),
);
// Paper is light, whatever the screen was.
let onScreen = "auto";
addEventListener("beforeprint", () => {
  onScreen = root.dataset.theme;
  change("light");
});
addEventListener("afterprint", () => change(onScreen));

report.theme = { color, onChange: (listener) => listeners.push(listener) };
