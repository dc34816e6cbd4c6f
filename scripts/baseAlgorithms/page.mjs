// docs/base-algorithms.md and its pictures, from the data and from what the systems print.
import { systemBlocks, systems } from "../../dist/index.js";
import { table } from "../bench/markdown.mjs";
import { band, chart } from "./chart.mjs";
import { abouts, budget, families, recipeIds, reference } from "./recipes.mjs";

const shown = (value) => JSON.stringify(value).replaceAll('"', "");
const two = (value) => value.toFixed(2);
const fileOf = (family) => `${family.toLowerCase().replaceAll(/[^a-z]+/g, "-")}.svg`;

/** What a recipe's blocks do otherwise than the reference's: options as `name value`, new blocks by name. */
function differences(id) {
  const plain = systemBlocks(systems[reference]);
  return systemBlocks(systems[id]).flatMap(({ at, block, options }) => {
    const other = plain.find((one) => one.at === at);
    const given = Object.entries(options)
      .filter(
        ([name, value]) => value !== null && shown(value) !== shown(other?.options[name] ?? null),
      )
      .map(([name, value]) => `${name} ${shown(value)}`);
    if (block === other?.block) return given.length === 0 ? [] : [`${at}: ${given.join(", ")}`];
    return [`${at}: \`${block}\`${given.length === 0 ? "" : ` (${given.join(", ")})`}`];
  });
}

function row(id, recipe) {
  const { title, arxiv } = systems[id];
  const paper = arxiv === null ? title : `[${title}](https://arxiv.org/abs/${arxiv})`;
  const what =
    id === reference ? "everything below is told apart from it" : differences(id).join("; ");
  const head = [`\`${id}\``, `${paper}: ${abouts[id]}`, what];
  if (recipe === undefined) return [...head, "", "", "", "", ""];
  const own = band(recipe.values);
  const early = own[recipe.steps.indexOf(10)];
  const end = own.at(-1);
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  return [
    ...head,
    two(own[0].mean),
    early === undefined ? "" : two(early.mean),
    `${two(end.mean)} (${two(end.least)} to ${two(end.most)})`,
    `${Math.round(mean(recipe.tokens) / 1000)}k`,
    `${mean(recipe.seconds).toFixed(1)} s`,
  ];
}

const intro = ({ machine }) => `# Base algorithms

The algorithms that the systems build on, each a recipe of its own: \`firesteel systems ID\` prints every block with
every option. Written by \`npm run docs:base\`; \`npm run docs:base -- --train\` trains them anew first.

Equal budget for all: ${budget.steps} steps of the task's own settings (learning rate, prompts, rollouts, minibatches), from one
warm start a seed, seeds ${budget.seeds.join(", ")}. Held-out accuracy is sampled at T = 1, 16 answers a question, every ${budget.evalSteps} steps;
a flow recipe is measured by its mean proxy reward. No setting was tuned for any of them, so that a recipe with a
narrow clip is slow here by construction and not by nature. Tokens are all that were sampled, prompts included: dynamic
sampling pays for its full batches with them. Times are of the steps alone, on one thread of ${machine.name} with
${machine.workers} runs side by side.

In the pictures: mean over the seeds, their range as a band, and in grey the mean of \`${reference}\`.
`;

/** @returns {{ page: string, pictures: Record<string, string> }} */
export function pageOf(data) {
  const known = data.recipes;
  const pictures = {};
  const parts = [intro(data)];
  for (const [family, members] of Object.entries(families)) {
    const ids = Object.keys(members).filter((id) => id in systems);
    if (ids.length === 0) continue;
    const drawn = ids.filter((id) => id in known).map((id) => [id, known[id]]);
    parts.push(`## ${family}\n`);
    if (drawn.length > 0) {
      const file = fileOf(family);
      pictures[file] = chart(family, drawn, [reference, known[reference]]);
      parts.push(`![Learning curves: ${ids.join(", ")}](base-algorithms/${file})\n`);
    }
    const head = ["recipe", "what it is", `otherwise than ${reference}`, "start", "step 10"];
    const rows = ids.map((id) => row(id, known[id]));
    const all = [...head, `step ${budget.steps} (seeds)`, "tokens", "time"];
    parts.push(`${table(all, rows, [3, 4, 5, 6, 7])}\n`);
  }
  const missing = recipeIds.filter((id) => !(id in systems));
  if (missing.length > 0) parts.push(`Not there yet: ${missing.join(", ")}.\n`);
  return { page: `${parts.join("\n").trimEnd()}\n`, pictures };
}
