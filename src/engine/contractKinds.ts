/** What the objects of src/contract must be where a user hands them in: what is read of them, and no more. */
import {
  aFlag,
  aFloat32Array,
  aFunction,
  aNumber,
  anInteger,
  anObject,
  anything,
  aSignal,
  aText,
  either,
  type Kind,
  listOf,
  numbers,
  oneOf,
  optional,
  orNull,
  recordOf,
  withFields,
} from "./arguments.js";

const aMessage = withFields({ role: aText, content: aText });

const anId: Kind = (value) =>
  typeof value === "string" && value !== ""
    ? null
    : { at: "", expected: "a text that is not empty", received: value };

export const aQuestion = withFields({
  id: anId,
  messages: listOf(aMessage),
  columns: anObject,
  kind: optional(aText),
  task: optional(aText),
});

export const aPrompt = withFields({ id: aText, columns: anObject, tokens: numbers });

const byLevel: Readonly<Record<string, Kind>> = {
  row: withFields({ value: aNumber }),
  segment: withFields({ values: numbers, bounds: numbers }),
  action: withFields({ values: numbers }),
};
const level = withFields({ level: oneOf(Object.keys(byLevel)) });

export const aColumn: Kind = (value) =>
  level(value) ?? byLevel[(value as { level: string }).level]!(value);

export const someActions = withFields({ kind: aText, length: anInteger() });
const flowSteps = withFields({
  states: aFloat32Array,
  sigmas: numbers,
  noise: aText,
  noiseLevels: numbers,
});

const tokenIds = withFields({ ids: numbers });

/** Actions with what is read of those of their kind. */
export const flowOrOther: Kind = (value) => {
  const flaw = someActions(value);
  if (flaw !== null) return flaw;
  const { kind } = value as { kind: string };
  if (kind === "flow") return flowSteps(value);
  return kind === "tokens" ? tokenIds(value) : null;
};

export const rewardOrNull = orNull(aNumber);

/** With as much of its trajectories as is read where groups are put together and taken apart. */
export const aGroup = withFields({ trajectories: listOf(withFields({ reward: rewardOrNull })) });

export const someForms = withFields({
  pointwise: listOf(withFields({ text: aText })),
  pairwise: listOf(aText),
  reflectTrace: listOf(withFields({ text: aText })),
  reflectAnswer: listOf(withFields({ text: aText })),
  quoted: aFunction,
  answer: aFunction,
});

/** What can be written down as JSON and read again. */
const anOptionValue: Kind = (value) => {
  if (value === null || ["number", "string", "boolean"].includes(typeof value)) return null;
  return Array.isArray(value) ? listOf(anOptionValue)(value) : recordOf(anOptionValue)(value);
};

const anOption = withFields({ name: aText, value: anOptionValue, description: aText });
const names = optional(listOf(aText));

const aBlock = withFields({
  block: aText,
  options: listOf(anOption),
  requires: names,
  models: names,
  inspect: optional(aFunction),
});

const staged = withFields({ run: aFunction });
export const aStage: Kind = (value) => aBlock(value) ?? staged(value);

const evaluated = withFields({
  coupling: aText,
  columns: listOf(aText),
  modelLogits: names,
  evaluate: aFunction,
});
export const aLossTerm: Kind = (value) => aBlock(value) ?? evaluated(value);

/** A stage, several of them, or (where the field may be left out) nothing. */
export const someStages = either(listOf(aStage), aStage);

export const anUpdate = withFields({
  minibatchSize: optional(anInteger(1)),
  numIterations: optional(anInteger(1)),
});

const aPhase = withFields({
  name: aText,
  model: aText,
  source: orNull(aStage),
  rollout: aStage,
  probe: listOf(aStage),
  reward: aStage,
  filter: listOf(aStage),
  advantage: orNull(aStage),
  credit: listOf(aStage),
  rows: orNull(aStage),
  select: listOf(aStage),
  weight: listOf(aStage),
  loss: listOf(aLossTerm),
  update: anUpdate,
  observe: listOf(aStage),
});

const phaseList = listOf(aPhase);
const somePhases: Kind = (value) =>
  phaseList(value) ??
  ((value as readonly unknown[]).length > 0
    ? null
    : { at: "", expected: "at least one phase", received: value });

export const someModels = recordOf(
  withFields({ from: either(aText, withFields({ directory: aText })), trained: aFlag }),
);

export const plannedStages = listOf(
  withFields({ name: aText, phases: listOf(aText), steps: anInteger() }),
);

export const aSystem = withFields({
  id: aText,
  title: aText,
  arxiv: orNull(aText),
  evidence: aText,
  policy: aText,
  task: aText,
  models: someModels,
  phases: somePhases,
  stages: orNull(plannedStages),
  inference: orNull(aStage),
});

const aCorner = withFields({ step: aNumber, rate: aNumber });
const aWarmStart = withFields({
  name: aText,
  steps: anInteger(),
  batchSize: anInteger(1),
  learningRate: listOf(aCorner),
  draw: aFunction,
});

export const aTask = withFields({
  id: aText,
  title: aText,
  kind: aText,
  alphabet: orNull(aText),
  train: listOf(aQuestion),
  evaluation: listOf(aQuestion),
  evaluations: optional(recordOf(listOf(aQuestion))),
  mixture: optional(
    listOf(withFields({ task: aText, weight: aNumber, forms: optional(someForms) })),
  ),
  forms: optional(someForms),
  rewards: recordOf(aFunction),
  rewardWeights: optional(recordOf(aNumber)),
  binaryRewards: aFlag,
  accuracy: orNull(aText),
  answer: optional(aFunction),
  warmStart: listOf(aWarmStart),
  demonstrate: optional(aFunction),
  policy: withFields({ layers: aNumber, width: aNumber }),
  settings: withFields({ maxCompletionLength: aNumber }),
});

export const aPolicy = withFields({
  kind: aText,
  maxLength: aNumber,
  sample: aFunction,
  score: aFunction,
  forward: aFunction,
  clone: aFunction,
  save: aFunction,
  dispose: aFunction,
});

const aSet: Kind = (value) =>
  value instanceof Set ? null : { at: "", expected: "a set", received: value };

export const aSampler = withFields({
  name: aText,
  capabilities: aSet,
  sample: aFunction,
  refresh: aFunction,
});

const stream = listOf(aNumber, 2);

export const aSampleRequest = withFields({
  prompts: listOf(aPrompt),
  counts: listOf(aNumber),
  streams: listOf(stream),
  temperature: aNumber,
  maxCompletionLength: aNumber,
  stop: listOf(aNumber),
  hook: anything,
  signal: orNull(aSignal),
  flow: optional(anObject),
  noiseStreams: optional(listOf(stream)),
  starts: optional(listOf(withFields({ actions: flowOrOther, at: aNumber }))),
});

export const aPolicyRow = withFields({
  prompt: aPrompt,
  actions: flowOrOther,
  mask: optional(numbers),
});
