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
function change(label, values, show) {
  const present = (values ?? []).filter((value) => value !== null);
  if (present.length === 0) return [];
  const [first, last] = [present[0], present.at(-1)];
  const text = present.length === 1 ? show(last) : `${show(first)} → ${show(last)}`;
  return [[label, text]];
}

function figures({ metrics: { values } }) {
  const last = (name) => values[name]?.filter((value) => value !== null).at(-1);
  const evaluated = Object.keys(values).filter((name) =>
    /^(judge|reflection)\/.*accuracy$/.test(name),
  );
  const speed = last("tokens_per_second/generate");
  return [
    ...change("Accuracy, held out", values["eval/accuracy"], share),
    ...evaluated.flatMap((name) => change(report.charts.nameOf(name), values[name], share)),
    ...change("Reward", values.reward, number),
    ...(last("num_tokens") === undefined ? [] : [["Tokens sampled", number(last("num_tokens"))]]),
    ...(speed === undefined ? [] : [["Tokens/s, sampling", number(speed)]]),
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
