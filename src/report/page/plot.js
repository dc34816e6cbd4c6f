// One chart: a canvas by uPlot, with a legend that tells the values under the cursor.

const { byId, element } = report.format;
const { color } = report.theme;
const height = 190;
/** Two charts fit beside each other on A4 and on Letter. */
const paperWidth = 290;
const colors = ["series-1", "series-2", "series-3", "series-4"];
const dashes = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

const strokeOf = (line) => color(colors[line.color % colors.length]);

function faded(stroke) {
  return stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.16)");
}

/** The columns that uPlot draws: the lines, then the edges of each band. */
function columnsOf(steps, lines) {
  const edges = lines.flatMap(({ values, spread }) =>
    spread === undefined
      ? []
      : [1, -1].map((sign) =>
          values.map((value, i) =>
            value === null || spread[i] === null ? null : value + sign * spread[i],
          ),
        ),
  );
  return [steps, ...lines.map(({ values }) => values), ...edges];
}

function optionsOf(chart, width, tell) {
  const { lines, unit, whole } = chart;
  const format = report.units[unit];
  const axis = {
    stroke: () => color("faint"),
    grid: { stroke: () => color("rule"), width: 1 },
    ticks: { show: false },
  };
  const banded = lines.filter(({ spread }) => spread !== undefined);
  const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { sync: { key: "steps" }, y: false, drag: { x: true, y: false } },
    scales: {
      x: { time: false },
      y: whole ? { range: [0, 1] } : { range: (_, low, high) => rangeOf(low, high, chart) },
    },
    axes: [
      { ...axis, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        stroke: () => strokeOf(line),
        width: 2,
        dash: dashes[line.dash % dashes.length],
        spanGaps: true,
        // What is measured now and then is a few points with lines between them.
        points: { show: isSparse(line.values), size: 5, fill: () => strokeOf(line) },
      })),
      ...banded.flatMap(() => [edge, edge]),
    ],
    bands: banded.map((line, i) => ({
      series: [1 + lines.length + 2 * i, 2 + lines.length + 2 * i],
      fill: () => faded(strokeOf(line)),
    })),
    hooks: { setCursor: [({ cursor }) => tell(cursor.idx)] },
  };
}

function isSparse(values) {
  const present = values.filter((value) => value !== null).length;
  return present < 40 && (present <= 2 || 2 * present < values.length);
}

/** A little room above and below; counts and shares never look negative. */
function rangeOf(low, high, { lines }) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  const positive = lines.every(({ values }) =>
    values.every((value) => value === null || value >= 0),
  );
  const bottom = low - room;
  return [positive && bottom < 0 && low >= 0 ? 0 : bottom, high + room];
}

/** Legend entries with a place for a value, and what fills the places. */
function legendOf({ lines, unit }) {
  const format = report.units[unit];
  const places = lines.map(() => element("span", { className: "value" }));
  const last = (values) => values.findLastIndex((value) => value !== null);
  const items = lines.map((line, i) => {
    const swatch = element("span", {
      className: `swatch swatch-${line.color % 4} dash-${line.dash % 4}`,
    });
    return element("li", {}, swatch, element("span", {}, line.label), places[i]);
  });
  const tell = (index) => {
    for (const [i, { values }] of lines.entries()) {
      places[i].textContent = format(values[index ?? last(values)]);
    }
  };
  tell(null);
  return { list: element("ul", { className: "legend" }, ...items), tell };
}

/** In words, for those who do not see the canvas. */
function summaryOf({ title, lines, unit }, steps) {
  const format = report.units[unit];
  const parts = lines.map(({ label, values }) => {
    const first = values.findIndex((value) => value !== null);
    const last = values.findLastIndex((value) => value !== null);
    return `${label} ${format(values[first])} at step ${steps[first]}, ${format(values[last])} at step ${steps[last]}`;
  });
  return `${title}: ${parts.join("; ")}`;
}

/** Arrow keys move the cursor where there is no pointer, and what is there is told. */
function moveByKeys(plot, box, { lines, unit }) {
  const format = report.units[unit];
  box.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const steps = plot.data[0];
    const from = plot.cursor.idx ?? (by === 1 ? -1 : steps.length);
    const index = Math.min(steps.length - 1, Math.max(0, from + by));
    // With hooks, and told to the other charts.
    plot.setCursor({ left: plot.valToPos(steps[index], "x"), top: height / 2 }, true, true);
    const values = lines.map(({ label, values }) => `${label} ${format(values[index])}`);
    byId("told").textContent = `Step ${steps[index]}: ${values.join(", ")}`;
  });
}

/** Draws a chart into the page and returns what redraws it. */
report.drawChart = (parent, chart, steps) => {
  const box = element("div", {
    className: "plot",
    tabIndex: 0,
    role: "group",
    "aria-label": summaryOf(chart, steps),
  });
  const { list, tell } = legendOf(chart);
  const title = element("h3", {}, chart.title);
  const about = chart.about === "" ? null : element("p", {}, chart.about);
  parent.append(
    element("figure", { className: "chart" }, element("figcaption", {}, title, about), box, list),
  );
  const width = () => Math.max(200, box.clientWidth);
  const plot = new uPlot(optionsOf(chart, width(), tell), columnsOf(steps, chart.lines), box);
  moveByKeys(plot, box, chart);
  const resize = (to) => plot.width !== to && plot.setSize({ width: to, height });
  new ResizeObserver(() => resize(width())).observe(box);
  addEventListener("beforeprint", () => resize(paperWidth));
  addEventListener("afterprint", () => resize(width()));
  report.theme.onChange(() => plot.redraw(false, true));
};
