// A chart with logarithmic axes, by hand: two dozen elements need no library. Colours follow the reader's
// light or dark setting; text stays text.

const style = `<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .axis { stroke: #8c959f; fill: none } .grid { stroke: #8c959f; stroke-opacity: .25; fill: none }
  .s0 { --c: #0969da } .s1 { --c: #bc4c00 } .s2 { --c: #1a7f37 } .s3 { --c: #8250df }
  .line { stroke: var(--c); stroke-width: 2; fill: none } .thin { stroke-dasharray: 5 4 }
  .dot { fill: var(--c) } .name { fill: var(--c) } .number { font-size: 10px; fill: #fff; text-anchor: middle }
  .middle { text-anchor: middle } .end { text-anchor: end } .title { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .s0 { --c: #58a6ff } .s1 { --c: #f0883e } .s2 { --c: #3fb950 } .s3 { --c: #bc8cff }
    .number { fill: #0d1117 }
  }
</style>`;

const escaped = (text) =>
  String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export const text = (x, y, content, kind = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}">${escaped(content)}</text>`;

export const document = (width, height, title, parts) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">\n<title>${escaped(title)}</title>\n${style}\n${parts.join("\n")}\n</svg>\n`;

/** From decades of numbers to a stretch of pixels. */
export function logScale([least, most], [from, to]) {
  const [a, b] = [Math.log10(least), Math.log10(most)];
  return (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
}

/** 1k, 10k, 1M; 0.01. */
export function short(value) {
  for (const [size, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(Number(value.toPrecision(2)));
}

/** Powers of ten within bounds. */
export function decades([least, most]) {
  const ticks = [];
  for (let e = Math.ceil(Math.log10(least) - 1e-9); 10 ** e <= most * 1.0001; ++e)
    ticks.push(10 ** e);
  return ticks;
}

/** Frame, grid and labels of a chart. @returns {{x, y, parts}} scales and what was drawn */
export function axes({ left, top, width, height, xs, ys, xName, yName, title }) {
  const x = logScale(xs, [left, left + width]);
  const y = logScale(ys, [top + height, top]);
  const parts = [
    `<path class="axis" d="M${left} ${top}V${top + height}H${left + width}"/>`,
    text(left + width / 2, top + height + 34, xName, "middle"),
    text(left - 40, top - 8, yName),
  ];
  if (title) parts.push(text(left + width / 2, top - 22, title, "middle title"));
  for (const tick of decades(xs)) {
    parts.push(`<path class="grid" d="M${x(tick).toFixed(1)} ${top}V${top + height}"/>`);
    parts.push(text(x(tick), top + height + 16, short(tick), "middle"));
  }
  for (const tick of decades(ys)) {
    parts.push(`<path class="grid" d="M${left} ${y(tick).toFixed(1)}H${left + width}"/>`);
    parts.push(text(left - 6, y(tick) + 4, short(tick), "end"));
  }
  return { x, y, parts };
}

export function line(points, x, y, kind) {
  const path = points.map(([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("L");
  return `<path class="line ${kind}" d="M${path}"/>`;
}
