import type { Label } from "../contract/data.js";
import type { RewardFunction } from "../contract/reward.js";
import { checkChoice, checkKeys, invalid, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { choice } from "./choice.js";
import { exact } from "./exact.js";
import { type Extraction, extractionNames, extractions } from "./extract.js";
import { type Blank, checkFillInOptions, type FillInOptions, fillIn } from "./fillIn.js";
import { math } from "./math.js";
import { checkNumericOptions, type NumericOptions, numeric } from "./numeric.js";

/** Judges an answer: a number in [0, 1], 1 = right. */
export type Verifier = (answer: string | null, label: Label) => number;

const verifierNames = ["exact", "numeric", "choice", "fill-in", "math"] as const;
/** Name of a verifier that comes along. */
export type VerifierName = (typeof verifierNames)[number];

/** Which verifier judges what part of a completion. */
export interface VerifiedOptions {
  /** By what answers are judged: a name, or a function of your own. */
  verifier: VerifierName | Verifier;
  /** Where in the completion the answer stands; default "text", the whole of it. */
  answer?: Extraction | ((completion: string) => string | null);
  /** Of the verifier "numeric". */
  numeric?: NumericOptions;
  /** Of the verifier "fill-in". */
  fillIn?: FillInOptions;
  /** The column with the texts of the options, for the verifier "choice"; default: letters alone. */
  optionsColumn?: string;
}

/** What a label must be for a verifier, in words; null where it is. */
export function unfitLabel(verifier: VerifierName | Verifier, label: Label): string | null {
  const plain = typeof label === "string" || typeof label === "number";
  if (typeof verifier === "function") return null;
  if (verifier === "fill-in") return isBlanks(label) ? null : "a text or an array of texts";
  if (verifier === "choice") return typeof label === "string" ? null : "a text";
  return plain ? null : "a text or a number";
}

function isBlanks(label: Label): label is string | readonly Blank[] {
  const blank = (value: Label): boolean =>
    typeof value === "string" ||
    (Array.isArray(value) && value.every((text) => typeof text === "string"));
  return typeof label === "string" || (Array.isArray(label) && label.every(blank));
}

/**
 * A reward that compares a completion's answer with its prompt's label. Null (it does not apply) where
 * the prompt has no label.
 *
 * @throws FiresteelError ERR_OPTION for options that are none, or that the verifier does not read; the
 *   reward throws ERR_REWARD for a label that the verifier cannot compare with
 * @example
 * rewards: { correct: verified({ verifier: "math", answer: "last-boxed" }) }
 */
export function verified(options: VerifiedOptions): RewardFunction {
  const { verifier, extract, judge, optionsColumn } = settled(options);
  return ({ completions, prompts }) =>
    completions.map((completion, i) => {
      const { label, columns, id } = prompts[i]!;
      if (label === null) return null;
      const expected = unfitLabel(verifier, label);
      if (expected !== null) {
        throw new FiresteelError(
          "ERR_REWARD",
          `Expected ${expected} as label of prompt ${show(id)} but received ${show(label)}`,
        );
      }
      const texts = optionsColumn === undefined ? undefined : columns[optionsColumn];
      return judge(extract(completion), label, texts);
    });
}

type Judge = (answer: string | null, label: Label, options: unknown) => number;

function settled(options: VerifiedOptions): {
  verifier: VerifiedOptions["verifier"];
  extract: (completion: string) => string | null;
  judge: Judge;
  optionsColumn: string | undefined;
} {
  checkKeys("verified", options, ["verifier", "answer", "numeric", "fillIn", "optionsColumn"]);
  const { verifier, answer = "text", optionsColumn } = options;
  if (typeof verifier !== "function") checkChoice("verified.verifier", verifier, verifierNames);
  if (typeof answer !== "function") checkChoice("verified.answer", answer, extractionNames);
  for (const [name, owner] of [
    ["numeric", "numeric"],
    ["fillIn", "fill-in"],
    ["optionsColumn", "choice"],
  ] as const) {
    if (options[name] === undefined || owner === verifier) continue;
    const expected = `nothing (it is read by the verifier ${show(owner)})`;
    throw invalid("ERR_OPTION", `verified.${name}`, expected, options[name]);
  }
  checkNumericOptions(options.numeric ?? {});
  checkFillInOptions(options.fillIn ?? {});
  if (optionsColumn !== undefined && typeof optionsColumn !== "string") {
    throw invalid("ERR_OPTION", "verified.optionsColumn", "a column's name", optionsColumn);
  }
  const extract = typeof answer === "function" ? answer : extractions[answer];
  const judges: Record<VerifierName, Judge> = {
    exact: (given, label) => exact(given, String(label)),
    numeric: (given, label) => numeric(given, label as string | number, options.numeric),
    choice: (given, label, texts) =>
      choice(given, label as string, Array.isArray(texts) ? texts.map(String) : []),
    "fill-in": (given, label) => fillIn(given, label as Blank, options.fillIn),
    math: (given, label) => math(given, label as string | number),
  };
  const judge = typeof verifier === "function" ? verifier : judges[verifier];
  return { verifier, extract, judge, optionsColumn };
}
