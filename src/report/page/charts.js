// All charts of a run.

const { byId, number } = report.format;

report.drawCharts = ({ metrics, phases, steps }) => {
  const { every, values } = metrics;
  const main = report.charts.main(values, phases);
  const further = report.charts.further(values, phases);
  byId("charts-hint").textContent =
    main.length === 0
      ? "No step has been done yet."
      : `${number(steps)} ${steps === 1 ? "step" : "steps"}${every === 1 ? "" : `, each point the mean of ${every}`}. ` +
        "Point at a chart to read every chart's values at that step; drag to zoom, double-click to zoom out.";
  for (const chart of main) report.drawChart(byId("chart-grid"), chart, metrics.steps);
  const box = byId("further");
  box.hidden = further.length === 0;
  box.firstElementChild.textContent = `Further metrics (${further.length})`;
  box.addEventListener(
    "toggle",
    () => {
      for (const chart of further) report.drawChart(byId("further-grid"), chart, metrics.steps);
    },
    { once: true },
  );
};
