// One picture a family: a panel for each recipe with the mean over the seeds, their range, and grpo's mean.
import { document, text } from "../bench/svg.mjs";

const panel = { width: 168, height: 96, left: 34, top: 30, columns: 4, gapX: 44, gapY: 52 };

/** Least, mean and most over the seeds, at every evaluation. */
export function band(values) {
  return values[0].map((_, i) => {
    const at = values.map((own) => own[i]);
    return {
      least: Math.min(...at),
      mean: at.reduce((a, b) => a + b, 0) / at.length,
      most: Math.max(...at),
    };
  });
}

const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

function curves({ steps, values }, other, [low, high], left, top) {
  const x = (step) => left + (panel.width * step) / steps.at(-1);
  const y = (value) => top + panel.height * (1 - (value - low) / (high - low));
  const own = band(values);
  const upper = steps.map((step, i) => point(x(step), y(own[i].most)));
  const lower = steps.map((step, i) => point(x(step), y(own[i].least))).reverse();
  const mean = (all) => steps.map((step, i) => point(x(step), y(all[i].mean))).join("L");
  const parts = [
    `<path class="axis" d="M${left} ${top}v${panel.height}h${panel.width}"/>`,
    text(left - 5, top + 5, high, "end"),
    text(left - 5, top + panel.height + 2, low, "end"),
    text(left + panel.width, top + panel.height + 14, `${steps.at(-1)} steps`, "end"),
    `<path class="dot s0" fill-opacity=".25" d="M${[...upper, ...lower].join("L")}Z"/>`,
  ];
  if (other)
    parts.push(
      `<path class="grid" style="stroke-opacity:.8;stroke-width:1.5" d="M${mean(band(other.values))}"/>`,
    );
  return [...parts, `<path class="line s0" d="M${mean(own)}"/>`];
}

/** @param recipes [id, { steps, values, metric }] of one family; @param reference drawn in grey where it fits */
export function chart(title, recipes, reference) {
  const [width, height] = [panel.width + panel.gapX, panel.height + panel.gapY];
  const columns = Math.min(panel.columns, recipes.length);
  const parts = recipes.flatMap(([id, recipe], i) => {
    const left = panel.left + (i % columns) * width;
    const top = panel.top + Math.floor(i / columns) * height;
    const all = recipe.values.flat();
    // Accuracies share one axis; rewards of another task have their own.
    const range =
      recipe.metric === "eval/accuracy"
        ? [0, 1]
        : [Math.floor(Math.min(...all) * 2) / 2, Math.ceil(Math.max(...all) * 2) / 2];
    const other =
      reference?.[0] !== id && reference?.[1].task === recipe.task ? reference[1] : null;
    return [text(left, top - 10, id, "title"), ...curves(recipe, other, range, left, top)];
  });
  const rows = Math.ceil(recipes.length / columns);
  return document(columns * width, panel.top + rows * height - 20, title, parts);
}
