// Which metrics stand in which chart. What no chart names is drawn by itself under "Further metrics".

const main = [
  {
    title: "Reward",
    about: "Mean over the step's rollouts; the band is one standard deviation.",
    series: [["reward", "mean"]],
    spread: "reward_std",
  },
  {
    title: "Accuracy",
    about: "Share of right answers to held-out questions, sampled at temperature 1.",
    unit: "share",
    whole: true,
    series: [["eval/accuracy", "accuracy"]],
  },
  {
    title: "Judge accuracy",
    about: "Share of right verdicts on held-out answers, and of answers put right.",
    unit: "share",
    whole: true,
    series: [
      ["judge/pointwise_accuracy", "pointwise"],
      ["judge/pairwise_accuracy", "pairwise"],
      ["reflection/accuracy", "reflection"],
    ],
  },
  {
    title: "Loss",
    about: "Mean over the step's optimiser updates.",
    series: [["loss", "loss"]],
  },
  {
    title: "KL divergence",
    about: "Of the policy from its reference, in nats per token.",
    series: [["kl", "KL"]],
  },
  {
    title: "Entropy",
    about: "Of the next token's distribution, in nats; near 0 the policy no longer explores.",
    series: [["entropy", "entropy"]],
  },
  {
    title: "Clip fractions",
    about: "Share of tokens whose ratio was clipped, below and above.",
    unit: "share",
    series: [
      ["clip_ratio/low_mean", "low"],
      ["clip_ratio/high_mean", "high"],
      ["clip_ratio/region_mean", "either"],
    ],
  },
  {
    title: "Completion length",
    about: "Tokens per completion.",
    series: [
      ["completions/mean_length", "mean"],
      ["completions/max_length", "longest"],
      ["completions/min_length", "shortest"],
    ],
  },
  {
    title: "Truncated completions",
    about: "Share that did not end by themselves.",
    unit: "share",
    whole: true,
    series: [["completions/clipped_ratio", "truncated"]],
  },
  {
    title: "Zero-variance groups",
    about: "Share of groups whose rollouts all have the same reward: they teach nothing.",
    unit: "share",
    whole: true,
    series: [["frac_reward_zero_std", "share"]],
  },
  {
    title: "Gradient norm",
    about: "Before clipping, mean over the step's updates.",
    series: [["grad_norm", "norm"]],
  },
  {
    title: "Learning rate",
    about: "Mean over the step's updates.",
    series: [["learning_rate", "rate"]],
  },
  {
    title: "Tokens per second",
    about: "Sampled, and trained on.",
    series: [
      ["tokens_per_second/generate", "sampling"],
      ["tokens_per_second/train", "training"],
    ],
  },
  {
    title: "Phase times",
    about: "Where a step's seconds go.",
    unit: "seconds",
    series: [
      ["time/generate", "sampling"],
      ["time/reward", "rewards"],
      ["time/train", "training"],
    ],
  },
];

const names = {
  "judge/pointwise_accuracy": "Judge, pointwise",
  "judge/pairwise_accuracy": "Judge, pairwise",
  "reflection/accuracy": "Reflection",
};

/**
 * The lines of a chart: those of its metrics that exist, of every phase. The first phase's metrics have
 * no prefix. Colours tell metrics apart where there are several, else phases; dashes always tell phases.
 */
function linesOf(chart, values, phases) {
  const of = phases.length === 0 ? [""] : phases;
  return chart.series.flatMap(([metric, label], m) =>
    of.flatMap((phase, p) => {
      const name = p === 0 ? metric : `${phase}/${metric}`;
      if (values[name] === undefined) return [];
      const several = chart.series.length > 1;
      const spread = chart.spread && values[p === 0 ? chart.spread : `${phase}/${chart.spread}`];
      return [
        {
          name,
          metric,
          label,
          phase,
          color: several ? m : p,
          dash: p,
          values: values[name],
          spread,
        },
      ];
    }),
  );
}

/** Charts with at least one line; a line is named by what tells it from the others. */
function chartsOf(list, values, phases) {
  return list.flatMap((chart) => {
    const lines = linesOf(chart, values, phases);
    if (lines.length === 0) return [];
    const phased = new Set(lines.map(({ phase }) => phase)).size > 1;
    const several = new Set(lines.map(({ metric }) => metric)).size > 1;
    const named = lines.map((line) => ({
      ...line,
      label: !phased ? line.label : several ? `${line.label}, ${line.phase}` : line.phase,
    }));
    return [{ unit: "number", ...chart, lines: named }];
  });
}

report.charts = {
  main: (values, phases) => chartsOf(main, values, phases),
  /** One chart each for the metrics that no chart above shows. */
  further(values, phases) {
    const shown = chartsOf(main, values, phases).flatMap(({ lines }) => lines);
    const taken = new Set(
      shown.flatMap(({ name }) => [name, name.replace(/reward$/, "reward_std")]),
    );
    const bare = (name) => phases.slice(1).find((phase) => name.startsWith(`${phase}/`));
    const left = Object.keys(values).filter((name) => !taken.has(name) && !bare(name));
    const only = Object.keys(values).filter((name) => {
      const phase = bare(name);
      return (
        phase !== undefined && !taken.has(name) && !left.includes(name.slice(phase.length + 1))
      );
    });
    const list = [...left, ...only].map((name) => ({
      title: name,
      about: "",
      series: [[name, name]],
    }));
    return chartsOf(list, values, phases);
  },
  nameOf: (name) => names[name] ?? name,
};
