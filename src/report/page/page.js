// Everything at once, from the data in the page.

const data = JSON.parse(report.format.byId("data").textContent);
report.drawHeader(data);
report.drawCharts(data);
report.drawRollouts(data);
