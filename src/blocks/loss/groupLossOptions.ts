import { checkChoice } from "../../engine/checks.js";
import type { GroupLossOptions as KernelOptions } from "../../engine/kernels/groupLoss.js";
import { type GroupLossKind, kindOptions, kinds } from "../../engine/kernels/groupLossTable.js";
import { type Pooling, poolings } from "../../engine/kernels/rowScoreTable.js";
import { choice, flag, integer, number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

type Base = "reference" | "old" | "none";

/** The kernel's options without the trainer's denominator; defaults as there. */
export type GroupLossOptions = Omit<KernelOptions, "denominator" | "out"> & {
  /** Whose log-probs are taken off the policy's: the reference's, the old policy's or none. */
  base?: Base;
  /** How a row's tokens become its score; "mean" is over trained tokens. */
  pooling?: Pooling;
};

/** What a row's score is in the paper or code that a kind is from. */
const ownScore: Readonly<Record<GroupLossKind, { base: Base; pooling: Pooling }>> = {
  real: { base: "old", pooling: "mean" },
  "real-bce": { base: "old", pooling: "mean" },
  "real-product": { base: "old", pooling: "mean" },
  drpo: { base: "none", pooling: "mean" },
  disco: { base: "none", pooling: "mean" },
  "reg-grpo": { base: "old", pooling: "sum" },
  dpo: { base: "reference", pooling: "sum" },
  // TRL averages over the length: the loss compares the margin with a constant, which sums would outgrow.
  ipo: { base: "reference", pooling: "mean" },
};

/** Options that some kinds take and others do not. */
const ofKinds = [
  ...(["tau", "lambda", "maxCompletionLength", "eps", "ddof"] as const),
  ...(["skipConstant", "beta", "labelSmoothing"] as const),
];
const kindNames = Object.keys(kinds) as GroupLossKind[];

const shapeOf = (kind: GroupLossKind) => {
  const own: Partial<Record<(typeof ofKinds)[number], number | boolean>> = kindOptions[kind];
  const initial = (name: (typeof ofKinds)[number]) => Number(own[name] ?? 1);
  const positive = { above: 0 };
  return {
    kind: choice(kind, kindNames, "the loss of a group"),
    base: choice(
      ownScore[kind].base,
      ["reference", "old", "none"],
      "whose log-probs are taken off the policy's",
    ),
    pooling: choice(
      ownScore[kind].pooling,
      Object.keys(poolings) as Pooling[],
      "how a row's trained tokens become its score",
    ),
    tau: number(initial("tau"), positive, "temperature of the scores"),
    lambda: number(initial("lambda"), positive, "temperature of the length weights"),
    maxCompletionLength: orNull(
      integer,
      null,
      { min: 1 },
      "the longest answer that there is room for, in tokens",
    ),
    eps: number(initial("eps"), { min: 0 }, "added to the std of the scores"),
    ddof: integer(0, { min: 0, max: 1 }, "subtracted from the count under the root of the std"),
    skipConstant: flag(false, "skips groups whose advantages are all equal"),
    beta: number(initial("beta"), positive, "strength of the tie to the base"),
    labelSmoothing: number(
      0,
      { min: 0, max: 0.5 },
      "probability that a preference is the wrong way round",
    ),
  };
};

type Shape = ReturnType<typeof shapeOf>;
export type GroupLossValues = {
  [K in keyof Shape]: Shape[K] extends { default: infer T } ? T : never;
};

const takes = (kind: GroupLossKind, name: string) => name in kindOptions[kind];

/** Options with defaults, checked against the kind. @throws FiresteelError ERR_OPTION */
export function parseGroupLoss(options: GroupLossOptions) {
  const given: unknown = (options as GroupLossOptions | null | undefined)?.kind;
  const known = checkChoice("groupLoss.kind", given, kindNames);
  return parseOptions("groupLoss", shapeOf(known), options, {
    inapplicable: Object.fromEntries(
      ofKinds.map((name) => [
        name,
        ({ kind }: GroupLossValues) => (takes(kind, name) ? null : `kind is "${kind}"`),
      ]),
    ),
    contradicts: {
      maxCompletionLength: ({ maxCompletionLength }) =>
        maxCompletionLength === null ? "an integer >= 1" : null,
    },
  });
}

/** The options that the kernel takes for this kind. */
export function kernelOptions(values: GroupLossValues): KernelOptions {
  const own = ofKinds.filter((name) => takes(values.kind, name));
  const entries = own.map((name) => [name, values[name]]);
  return { kind: values.kind, ...Object.fromEntries(entries) };
}
