import type { Command } from "commander";
import type { Question } from "../contract/data.js";
import { show } from "../engine/checks.js";
import { FiresteelError, type Solution, type SolveOptions, solve } from "../index.js";
import { readFlagFile } from "./flagFile.js";
import { type Terminal, table } from "./terminal.js";
import { wholeNumber } from "./wholeNumber.js";

interface SolveFlags {
  policy: string;
  task?: string;
  reflect?: number;
  file?: string;
  maxCompletionLength?: number;
  device?: SolveOptions["device"];
  json?: true;
}

export function registerSolve(program: Command, terminal: Terminal): void {
  program
    .command("solve")
    .description("answer questions, with SPARK's judging and reflection at test time")
    .argument("[questions...]", "as the policy reads them")
    .requiredOption(
      "--policy <dir>",
      "a folder with a policy, or a run's folder: its best checkpoint (--set keepBest=true), else its newest",
    )
    .option("--task <id>", "whose forms of judging and reflection are used; default arithmetic")
    .option("--reflect <n>", "answers that are judged at most; default 0", wholeNumber("--reflect"))
    .option("--file <file>", 'questions as JSON lines: {"question": "...", "id": "..."}')
    .option(
      "--max-completion-length <n>",
      "tokens of an answer at most; default the task's",
      wholeNumber("--max-completion-length"),
    )
    .option("--device <auto|cpu|cuda>", "where the kernels run; default auto")
    .option("--json", "one line of JSON a question on stdout")
    .addHelpText(
      "after",
      `
Examples:
  firesteel solve --policy runs/spark-arithmetic-seed0 0123= 3321=
  firesteel solve --policy runs/spark-arithmetic-seed0/checkpoint-50/policy 0123=
  firesteel solve --policy DIR --reflect 2 --file questions.jsonl --json

With --reflect N the policy judges its answer and answers again where it does not accept it, N times at
most: 2, 4 or 5 calls with N = 2.

A line of --json:
  {"id": "1", "question": "0123=", "answer": "2", "accepted": true, "rounds": 1, "calls": 2, "trace": [...]}

Exit codes: 0 answered; 1 the policy cannot be read; 2 wrong use, among it questions that the policy
has no symbols for or no room.`,
    )
    .action((questions: string[], flags: SolveFlags) => runSolve(questions, flags, terminal));
}

async function runSolve(
  questions: readonly string[],
  { file, json, ...flags }: SolveFlags,
  terminal: Terminal,
): Promise<void> {
  if (file !== undefined && questions.length > 0) {
    const message = "Expected either questions as arguments or --file, not both";
    throw new FiresteelError("ERR_OPTION", message);
  }
  const prompts = file === undefined ? questions : readQuestions(file);
  if (prompts.length === 0) {
    throw new FiresteelError("ERR_OPTION", "Expected questions as arguments or in --file");
  }
  const solutions = await solve({ ...flags, prompts });
  if (json) for (const solution of solutions) terminal.out(`${JSON.stringify(solution)}\n`);
  else terminal.out(table(solutions.map(line)));
}

function line({ question, answer, accepted, rounds, calls }: Solution): string[] {
  const judged = rounds === 0 ? "" : accepted ? "accepted, " : "not accepted, ";
  return [question, answer ?? "-", `(${judged}${calls} ${calls === 1 ? "call" : "calls"})`];
}

/** @throws FiresteelError ERR_OPTION naming the line */
function readQuestions(path: string): Question[] {
  const text = readFlagFile("--file", path);
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    const { question, id = String(i + 1) } = parsed(line, `${path}, line ${i + 1}`);
    return [{ id, messages: [{ role: "user", content: question }], label: null, columns: {} }];
  });
}

function parsed(line: string, where: string): { question: string; id?: string } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const { question, id } = (value ?? {}) as Record<string, unknown>;
  if (typeof question === "string" && (id === undefined || typeof id === "string")) {
    return { question, id };
  }
  const expected = '{"question": "...", "id": "..."}';
  throw new FiresteelError(
    "ERR_OPTION",
    `Expected ${expected} (id optional) in ${where} but received ${show(line)}`,
  );
}
