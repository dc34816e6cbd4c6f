// The roofline of a run: what memory and products leave, and where every kernel stands under it.
import { axes, document, line, text } from "./svg.mjs";

const dtypes = { f32: "s0", bf16: "s1", f16: "s2" };

/**
 * @param ceilings of the run
 * @param results of the run; those whose ceiling is memory or gemm are drawn
 * @returns {string} an SVG document
 */
export function roofline({ ceilings, results }, title) {
  const drawn = results
    .filter(({ ceiling }) => ceiling === "memory" || ceiling === "gemm")
    .sort((a, b) => a.flops / a.bytes - b.flops / b.bytes);
  const { readGbPerS, gemmGflopPerS } = ceilings;
  const xs = [0.05, Math.max(1000, ...drawn.map((r) => (2 * r.flops) / r.bytes))];
  const ys = [Math.min(1, ...drawn.map((r) => r.gflopPerS / 2)), gemmGflopPerS * 3];
  const height = Math.max(420, 18 * drawn.length + 40);
  const frame = { left: 60, top: 40, width: 520, height: height - 60 };
  const chart = axes({
    ...frame,
    ...{ xs, ys, xName: "flops per byte that must be moved", yName: "GFLOP/s" },
  });
  const { x, y, parts } = chart;
  const knee = gemmGflopPerS / readGbPerS;
  const floor = Math.max(xs[0], ys[0] / readGbPerS);
  const roof = [
    [floor, floor * readGbPerS],
    [knee, gemmGflopPerS],
    [xs[1], gemmGflopPerS],
  ];
  parts.push(line(roof, x, y, "s3"));
  parts.push(
    text(
      x(knee) + 8,
      y(gemmGflopPerS) - 8,
      `${gemmGflopPerS.toFixed(0)} GFLOP/s, own f32 products`,
      "s3 name",
    ),
  );
  const slope = [(floor * knee) ** 0.5, (floor * knee) ** 0.5 * readGbPerS];
  parts.push(
    text(x(slope[0]) - 6, y(slope[1]) - 12, `reading ${readGbPerS.toFixed(0)} GB/s`, "s3 name end"),
  );
  for (const [i, r] of drawn.entries()) {
    const kind = dtypes[r.dtype];
    const [cx, cy] = [x(r.flops / r.bytes), y(r.gflopPerS)];
    parts.push(`<circle class="dot ${kind}" cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="8"/>`);
    parts.push(text(cx, cy + 3.5, i + 1, "number"));
    const twice = drawn.filter((o) => o.kernel === r.kernel && o.dtype === r.dtype).length > 1;
    const name = `${r.kernel} ${twice ? `${r.shape[0]} ` : ""}${r.dtype}`;
    const label = `${i + 1}  ${name}, ${(100 * r.ofPeak).toFixed(0)}%`;
    parts.push(text(610, 46 + 18 * i, label, `${kind} name`));
  }
  return document(960, height + 40, title, parts);
}
