/**
 * Everything that can be called, found by walking what the package exports: functions, constructors, static
 * and other methods, getters; what policies are made of; and the raw addon.
 */
import { readdirSync } from "node:fs";
import * as blocksEntry from "../../dist/blocks/index.js";
import * as firesteelEntry from "../../dist/index.js";
import { Engine } from "../../dist/index.js";
import { blocks } from "./seeds/blocks.mjs";
import { engine } from "./seeds/engine.mjs";
import { kernels } from "./seeds/kernels.mjs";
import { nn } from "./seeds/nn.mjs";
import { pure } from "./seeds/pure.mjs";
import { runs } from "./seeds/runs.mjs";

/** Exports that are no calls, each with what it is instead. */
export const notCalled = {
  "firesteel/FiresteelError": "the error itself: takes what Error takes",
  "firesteel/FlowPolicy": "its constructor is private: create and open make one",
  "firesteel/OpenAISampler": "its constructor is private: connect makes one",
  "firesteel/TokenPolicy": "its constructor is private: create and open make one",
  "firesteel/claims": "data",
  "firesteel/datasetSettings": "data",
  "firesteel/groupLossMetrics": "data",
  "firesteel/kernelTables": "data",
  "firesteel/logProbPartialFields": "data",
  "firesteel/surrogateMetrics": "data",
  "firesteel/systems": "data: systems, whose stages the trainer calls",
  "firesteel/tasks": "data: tasks, whose rewards the trainer calls",
  "firesteel/version": "data",
  "blocks/conventions": "data",
};

/** Objects whose functions are called by their own names. */
const namespaces = ["verifiers", "verifiers.extractions", "naturalLanguage", "option"];

/**
 * Marked @internal, or what the author of a block declares its options with: as with the addon, all that counts
 * is that the process survives.
 */
const internal = new Set([
  "firesteel/Tensor",
  "firesteel/Engine#handle",
  "firesteel/Engine#adopt",
  "firesteel/Engine#report",
  "firesteel/Engine#attempt",
  "blocks/atStep",
  "blocks/parseOptions",
]);

/** How often something is called beside the others: what takes longer is called less. */
const rare = {
  train: 0.02,
  replicate: 0.01,
  solve: 0.05,
  serve: 0.05,
  scoreFile: 0.2,
  writeReport: 0.2,
  workerReward: 0.1,
  publishWeights: 0.1,
  TokenPolicy: 0.2,
  FlowPolicy: 0.2,
  OpenAISampler: 0.1,
  EmbeddedSampler: 0.1,
  Engine: 0.3,
  openPolicy: 0.2,
  datasetTask: 0.2,
};

const isClass = (value) => /^class\b/.test(Function.prototype.toString.call(value));

/** Own names of a class's prototype or of the class: [name, descriptor]. */
function members(object, without) {
  return Object.entries(Object.getOwnPropertyDescriptors(object)).filter(
    ([name]) => !without.includes(name),
  );
}

function* callsOf(entry, name, value) {
  const at = `${entry}/${name}`;
  if (namespaces.includes(name)) {
    for (const [key, part] of Object.entries(value)) {
      if (typeof part === "function" || namespaces.includes(`${name}.${key}`)) {
        yield* callsOf(entry, `${name}.${key}`, part);
      }
    }
    return;
  }
  if (typeof value !== "function") return void (yield { id: at, name, call: null });
  if (!isClass(value)) return void (yield { id: at, name, call: (_, args) => value(...args) });
  yield { id: at, name, call: (_, args) => new value(...args) };
  for (const [key, { value: method }] of members(value, ["length", "name", "prototype"])) {
    const call = (_, args) => value[key](...args);
    if (typeof method === "function") yield { id: `${at}.${key}`, name: `${name}.${key}`, call };
  }
  for (const [key, { get, value: method }] of members(value.prototype, ["constructor"])) {
    const called = get ?? method;
    yield {
      id: `${at}#${key}`,
      name: `${name}#${key}`,
      call: (self, args) => Reflect.apply(called, self, args),
    };
  }
}

async function nnModules() {
  const folder = new URL("../../dist/engine/nn/", import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(".js"));
  return Promise.all(files.sort().map((file) => import(new URL(file, folder))));
}

/** Of Engine's module: what is used and shown, but never made by hand. */
const seeds = { firesteel: { ...kernels, ...engine, ...pure, ...runs }, blocks, nn };

/**
 * @returns every call with its seed: valid arguments, or `{ self, args }` of a method; `missing`: what is
 *   exported but has neither a seed nor a place in `notCalled`
 */
export async function entries() {
  const found = [
    ...Object.entries(firesteelEntry).flatMap(([name, value]) => [
      ...callsOf("firesteel", name, value),
    ]),
    ...Object.entries(blocksEntry).flatMap(([name, value]) => [...callsOf("blocks", name, value)]),
    ...(await nnModules()).flatMap((module) =>
      Object.entries(module)
        .filter(([, value]) => typeof value === "function")
        .flatMap(([name, value]) => [...callsOf("nn", name, value)]),
    ),
  ].filter(({ name }) => name !== "Symbol(Symbol.dispose)");
  const all = found.map((one) => {
    const entry = one.id.slice(0, one.id.indexOf("/"));
    const seed = seeds[entry][one.name];
    const weight = rare[one.name] ?? rare[one.name.split(/[.#]/)[0]] ?? 1;
    return {
      ...one,
      entry,
      seed,
      weight,
      internal: internal.has(one.id) || one.id.startsWith("blocks/option."),
    };
  });
  const natives = nativeEntries(all);
  const callable = [
    ...all.filter(({ call, seed }) => call !== null && seed !== undefined),
    ...natives,
  ];
  const missing = all
    .filter(({ id, call, seed }) => !(id in notCalled) && (call === null || seed === undefined))
    .map(({ id }) => id);
  return { callable: callable.filter(({ id }) => !(id in notCalled)), missing };
}

/**
 * The raw addon: its functions are called by the calls that reach them, with arguments changed on the way.
 * `through` says which calls those are.
 */
function nativeEntries(all) {
  const probe = new Engine({ device: "cpu", threads: 1 });
  const names = Object.keys(probe.addon).filter((name) => typeof probe.addon[name] === "function");
  probe.dispose();
  const reaching = all.filter(({ entry, seed, name }) => {
    return seed !== undefined && (entry === "nn" || name in kernels || name in engine);
  });
  return names
    .filter((name) => name !== "initialize")
    .map((name) => ({
      id: `addon/${name}`,
      name,
      entry: "addon",
      weight: 1,
      internal: true,
      reaching,
    }));
}
