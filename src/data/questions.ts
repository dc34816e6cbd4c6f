import type { Label, Message, Question } from "../contract/data.js";
import { didYouMean, show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { type Extraction, extractions } from "../verifiers/extract.js";
import { unfitLabel, type Verifier, type VerifierName } from "../verifiers/verified.js";
import { type DataRecord, records } from "./records.js";

/** Which columns of a file hold what. */
export interface ColumnMap {
  /** A text, or chat messages [{role, content}]; default "prompt". */
  readonly prompt?: string;
  /** What answers are compared with; default "label". */
  readonly label?: string;
  /**
   * Texts or whole numbers, all different; default: the column "id" where there is one, else the
   * file's name and the row.
   */
  readonly id?: string;
}

/** How the rows of files become questions. */
export interface QuestionPlan {
  readonly columns: ColumnMap;
  readonly verifier: VerifierName | Verifier;
  /** Where in the label column the answer stands. */
  readonly labelAnswer: Extraction;
  /** Ids that are taken, by the place of their owner. */
  readonly taken: Map<string, string>;
}

/** Rows that cannot be used which an error lists one by one. */
const MOST_LISTED = 5;

/**
 * The questions of a file, in its order.
 *
 * @param name begins the ids that are made up
 * @throws FiresteelError ERR_OPTION where the file cannot be read, lacks a column, has no rows, or
 *   has rows that cannot be used: the first five by their number
 */
export async function readQuestions(
  path: string,
  name: string,
  plan: QuestionPlan,
): Promise<Question[]> {
  const questions: Question[] = [];
  const wrong: string[] = [];
  let rows = 0;
  let bad = 0;
  for await (const record of records(path)) {
    rows += 1;
    if (rows === 1 && "values" in record) checkColumns(path, record.values, plan.columns);
    const question = questionOf(record, `${name}/${rows}`, plan);
    const place = `${path} ${record.place}`;
    const owner = typeof question === "string" ? undefined : plan.taken.get(question.id);
    const reason =
      typeof question === "string"
        ? question
        : owner === undefined
          ? null
          : `Expected an id of its own but ${show(question.id)} is that of ${owner}`;
    if (reason === null) {
      const taken = question as Question;
      plan.taken.set(taken.id, place);
      questions.push(taken);
    } else {
      bad += 1;
      if (wrong.length < MOST_LISTED) wrong.push(`${record.place}: ${reason}`);
    }
  }
  if (rows === 0) {
    throw new FiresteelError("ERR_OPTION", `Expected rows in ${path} but there are none`);
  }
  if (bad > 0) {
    const more = bad > wrong.length ? `; and ${bad - wrong.length} more` : "";
    throw new FiresteelError(
      "ERR_OPTION",
      `${bad} of ${rows} rows of ${path} cannot be used: ${wrong.join("; ")}${more}`,
    );
  }
  return questions;
}

/** The first row says which columns there are. */
function checkColumns(path: string, values: object, columns: ColumnMap): void {
  const there = Object.keys(values);
  const names = { prompt: "prompt", label: "label", ...columns };
  for (const [role, column] of Object.entries(names)) {
    if (there.includes(column)) continue;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a column ${show(column)} in ${path} but it has ${there.map(show).join(", ") || "none"}` +
        `${didYouMean(column, there)}; columns: { ${role}: ... } maps another one`,
    );
  }
}

/** A row as a question, or what is wrong with it. */
function questionOf(record: DataRecord, made: string, plan: QuestionPlan): Question | string {
  if ("wrong" in record) return record.wrong;
  const { values } = record;
  const names = { prompt: "prompt", label: "label", ...plan.columns };
  const messages = messagesOf(values[names.prompt], names.prompt);
  if (typeof messages === "string") return messages;
  const label = labelOf(values[names.label], names.label, plan);
  if ("wrong" in label) return label.wrong;
  const idColumn = names.id ?? "id";
  const id = values[idColumn] ?? (names.id === undefined ? made : null);
  if (!(typeof id === "string" && id !== "") && !Number.isSafeInteger(id)) {
    return `Expected a text or a whole number for ${idColumn} but received ${show(id)}`;
  }
  const used = [names.prompt, names.label, idColumn];
  const columns = Object.entries(values).filter(([name]) => !used.includes(name));
  return { id: String(id), messages, label: label.value, columns: Object.fromEntries(columns) };
}

const roles = ["system", "user", "assistant", "tool"] as const;
const alone = /\p{Surrogate}/u;

function messagesOf(value: unknown, column: string): Message[] | string {
  const given = typeof value === "string" ? [{ role: "user", content: value }] : value;
  if (!Array.isArray(given)) {
    return `Expected a text or chat messages for ${column} but received ${show(value)}`;
  }
  if (given.length === 0) return `Expected messages for ${column} but there are none`;
  const messages: Message[] = [];
  for (const [i, message] of given.entries()) {
    const { role, content } = (message ?? {}) as Record<string, unknown>;
    const at = typeof value === "string" ? column : `${column}[${i}].content`;
    if (!roles.includes(role as Message["role"])) {
      const one = roles.map(show).join(", ");
      return `Expected one of ${one} for ${column}[${i}].role but received ${show(role)}`;
    }
    if (typeof content !== "string")
      return `Expected a text for ${at} but received ${show(content)}`;
    if (alone.test(content))
      return `Expected whole Unicode characters for ${at} but found half of one`;
    messages.push({ role: role as Message["role"], content });
  }
  if (messages.every(({ content }) => content === "")) {
    return `Expected a text for ${column} but it is empty`;
  }
  return messages;
}

function labelOf(
  value: unknown,
  column: string,
  { verifier, labelAnswer }: QuestionPlan,
): { value: Label } | { wrong: string } {
  if (value === null || value === undefined) {
    return { wrong: `Expected a label for ${column} but received ${value}` };
  }
  const label = value as Label;
  const unfit = unfitLabel(verifier, label);
  if (unfit !== null)
    return { wrong: `Expected ${unfit} for ${column} but received ${show(value)}` };
  if (typeof label !== "string") return { value: label };
  if (alone.test(label)) {
    return { wrong: `Expected whole Unicode characters for ${column} but found half of one` };
  }
  if (labelAnswer === "text") return { value: label };
  const answer = extractions[labelAnswer](label);
  if (answer !== null) return { value: answer };
  return { wrong: `Expected an answer (${labelAnswer}) in ${column} but ${show(label)} has none` };
}
