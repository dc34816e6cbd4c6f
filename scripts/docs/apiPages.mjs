// A typedoc plugin: an entry point exports hundreds of names, so they are laid out in pages by subject,
// chosen by the file that declares them.
import { Comment, Converter, DeclarationReflection, ReflectionKind } from "typedoc";

/** Titles in reading order, and the files under src whose exports stand there: the first that fits. */
export const pages = [
  [
    "Training",
    /^(train|trainOptions|taskSource|givenModels|version)\.ts|^trainer\/|^contract\/run\./,
  ],
  ["Solving and scoring", /^solve\.ts|^score\//],
  ["Systems", /^systems\/|^contract\/(system|stage|block|state)\./],
  ["Tasks and data", /^(tasks|data)\/|^contract\/(task|data|environment|reward)\./],
  ["Verifiers", /^verifiers\//],
  ["Question forms", /^forms\/|^contract\/forms\./],
  ["Policies", /^policies\/|^contract\/policy\./],
  ["Samplers and serving", /^(samplers|serve|weights)\/|^contract\/sampler\./],
  ["Replication", /^(replicate|statistics)\//],
  ["Reports and metrics", /^report\/|^contract\/metrics\./],
  ["Engine and tensors", /^engine\/[^/]+$|^contract\/device\./],
  ["Log-prob kernels", /^engine\/kernels\/(logProb|linearLogProb)/],
  ["Advantage and KL kernels", /^engine\/kernels\/(groupNorm|kl\.)/],
  ["Loss kernels", /^engine\/kernels\/(surrogate|tokenLoss|rowScore|groupLoss|klHinge|divergence)/],
  ["Flow and graph kernels", /^engine\/kernels\/(flow|gaussian|bernoulli)/],
  ["Kernel tables", /^engine\/kernels\/(kernelTable|tables)/],
  ["Loss terms", /^contract\/loss\./],
  ["Neural networks", /^nn\//],
  ["Network operations", /^engine\/nn\//],
  ["Source and rollout blocks", /^blocks\/(source|rollout)\//],
  ["Reward blocks", /^blocks\/reward\//],
  ["Filter blocks", /^blocks\/(filter|select)\//],
  ["Advantage blocks", /^blocks\/(advantage|credit)\//],
  ["Loss blocks", /^blocks\/loss\//],
  ["Observer and inference blocks", /^blocks\/(observe|inference)\//],
  ["Options of blocks", /^options\//],
  ["Columns and conventions", /^blocks\/[^/]+$/],
];

/** The title of the page where a file's exports stand. @throws where there is none */
export function pageOf(file) {
  const page = pages.find(([, files]) => files.test(file));
  if (page === undefined) throw new Error(`scripts/docs/apiPages.mjs has no page for src/${file}`);
  return page[0];
}

/** What an entry point exports; of a namespace (`verifiers`) its members, with its name. */
function exportsOf(entry) {
  const from = entry.name === "index" ? "firesteel" : `firesteel/${entry.name}`;
  return [...entry.children].flatMap((child) =>
    child.kindOf(ReflectionKind.Namespace)
      ? child.children.map((member) => [member, child, `${from}\`, as \`${child.name}`])
      : [[child, entry, from]],
  );
}

function layOut({ project }) {
  const entries = [...project.children];
  const exported = entries.flatMap(exportsOf);
  for (const [title] of pages) {
    const here = exported.filter(([{ id }]) => {
      const { packagePath } = project.getSymbolIdFromReflection(project.getReflectionById(id));
      return pageOf(packagePath.replace(/^src\//, "")) === title;
    });
    if (here.length === 0) continue;
    const page = new DeclarationReflection(title, ReflectionKind.Module, project);
    project.registerReflection(page, undefined, undefined);
    project.addChild(page);
    for (const [reflection, parent] of here) {
      parent.removeChild(reflection);
      reflection.parent = page;
      page.addChild(reflection);
    }
    const from = [...new Set(here.map(([, , name]) => `\`${name}\``))].join(" and ");
    page.comment = new Comment([{ kind: "text", text: `From ${from}.` }]);
  }
  for (const entry of entries) project.removeReflection(entry);
}

export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, layOut);
}
