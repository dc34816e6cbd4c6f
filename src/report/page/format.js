// Numbers and elements, as the page writes them.

const dash = "–";

/** Three significant digits, thousands set apart. */
function number(value) {
  if (value === null || value === undefined) return dash;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e9) return value.toExponential(1).replace("-", "−");
  const text =
    size >= 1000
      ? Math.round(value).toLocaleString("en-US")
      : Number(value.toPrecision(3)).toString();
  return text.replace("-", "−");
}

function signed(value) {
  return value !== null && value > 0 ? `+${number(value)}` : number(value);
}

function share(value) {
  return value === null || value === undefined ? dash : `${Number((100 * value).toFixed(1))}%`;
}

function seconds(value) {
  if (value === null || value === undefined) return dash;
  if (value < 1) return `${number(1000 * value)} ms`;
  if (value < 120) return `${number(value)} s`;
  const minutes = Math.round(value / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An element with properties and children; strings become text, never markup. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const byId = (id) => document.getElementById(id);

report.units = { number, share, seconds };
report.format = { number, signed, share, seconds, element, byId };
