// What ran, and what came of it.

const { byId, element, number, seconds, share } = report.format;

function title({ name, run }) {
  return run === null ? name : run.system.title;
}

function about({ name, run, steps }) {
  const stepCount = `${number(steps)} ${steps === 1 ? "step" : "steps"}`;
  if (run === null) return `${name} · ${stepCount}`;
  const { sittings, device, system, settings } = run;
  const first = sittings[0];
  const time = sittings.reduce((sum, sitting) => sum + sitting.seconds, 0);
  const of =
    settings.steps === undefined || settings.steps === steps ? "" : ` of ${number(settings.steps)}`;
  return [
    `run ${name}`,
    `system ${system.id}`,
    system.arxiv === null ? null : `arXiv ${system.arxiv}`,
    `task ${run.task.id}`,
    `${stepCount.replace(/ steps?$/, "")}${of} steps`,
    `${seconds(time)} on ${device}`,
    sittings.length > 1 ? `${sittings.length} sittings` : null,
    first === undefined ? null : `begun ${first.begun.slice(0, 16).replace("T", " ")} UTC`,
    sittings.at(-1)?.error === null ? null : `ended by an error: ${sittings.at(-1).error}`,
  ]
    .filter((part) => part !== null)
    .join(" · ");
}

/** A measured start and end; nothing where it was never measured. */
function change(label, ends, show) {
  if (ends === undefined) return [];
  const [first, last] = ends.map(show);
  return [[label, first === last ? last : `${first} → ${last}`]];
}

const lastOf = (label, ends) => (ends === undefined ? [] : [[label, number(ends[1])]]);

function figures({ metrics: { ends } }) {
  const judged = Object.keys(ends).filter((name) => /^(judge|reflection)\/.*accuracy$/.test(name));
  return [
    ...change("Accuracy, held out", ends["eval/accuracy"], share),
    ...judged.flatMap((name) => change(report.charts.nameOf(name), ends[name], share)),
    ...change("Reward", ends.reward, number),
    ...lastOf("Tokens sampled", ends.num_tokens),
    ...lastOf("Tokens/s, sampling", ends["tokens_per_second/generate"]),
  ];
}

report.drawHeader = (data) => {
  byId("title").textContent = title(data);
  byId("task").textContent = data.run === null ? "" : `Task: ${data.run.task.title}`;
  byId("about").textContent = about(data);
  byId("figures").append(
    ...figures(data).map(([label, text]) =>
      element("div", {}, element("dt", {}, label), element("dd", {}, text)),
    ),
  );
  byId("printed").textContent = data.printed;
};
