import type { Prompt, Question, Trajectory } from "../../contract/data.js";
import type { QuestionForms } from "../../contract/forms.js";
import type { InferenceContext } from "../../contract/stage.js";
import type { Inference } from "../../contract/system.js";
import { aFlag, anInteger, checkArguments, listOf } from "../../engine/arguments.js";
import { pointwiseQuestion, reflectionQuestion } from "../../forms/questions.js";
import { integer } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { formsOf, inspectRecycling, recyclingShape } from "../observe/recycleOptions.js";

/** What comes next for a question with `answers` answers, of which so many verdicts are known. */
export function nextCall(
  answers: number,
  verdicts: readonly boolean[],
  rounds: number,
): "judge" | "reflect" | "done" {
  checkArguments(
    { answers, verdicts, rounds },
    { answers: anInteger(), verdicts: listOf(aFlag), rounds: anInteger() },
  );
  if (verdicts.at(-1) === true || answers > rounds) return "done";
  return verdicts.length < answers ? "judge" : "reflect";
}

/**
 * How answering ends: each answer is judged, up to `rounds` of them; the first that is accepted stands,
 * else the last revision, which nobody judges.
 *
 * @param verdicts [k]: what the judge would say of answer k, from 0
 * @returns which answer is returned, and how many calls of the model that takes
 */
export function reflectionCourse(
  verdicts: readonly boolean[],
  rounds: number,
): { answer: number; calls: number } {
  checkArguments({ verdicts, rounds }, { verdicts: listOf(aFlag), rounds: anInteger() });
  const seen: boolean[] = [];
  let answers = 1;
  for (;;) {
    const next = nextCall(answers, seen, rounds);
    if (next === "done") return { answer: answers - 1, calls: answers + seen.length };
    if (next === "judge") seen.push(verdicts[seen.length] ?? false);
    else answers += 1;
  }
}

/** One call of the model. */
export interface SolveCall {
  /** "answer", "pointwise" (a judgement), "reflectAnswer" or "reflectTrace". */
  readonly kind: string;
  readonly prompt: string;
  readonly completion: string;
}

/** What `reflect` leaves in the `info` of a trajectory. */
export interface ReflectInfo {
  /** The final answer; null where none could be extracted. */
  answer: string | null;
  /** Whether the judge has accepted it. */
  accepted: boolean;
  /** Answers that were judged. */
  rounds: number;
  /** Calls of the model. */
  calls: number;
  trace: SolveCall[];
}

interface Course {
  readonly question: Question;
  readonly forms: QuestionForms;
  readonly trace: SolveCall[];
  readonly verdicts: boolean[];
  answers: number;
  last: Trajectory;
}

const shape = {
  rounds: integer(2, { min: 0 }, "answers that are judged at most; the last revision is not"),
  templates: recyclingShape.templates,
};

/**
 * Answers, judges its own answer and tries again where that is not accepted (SPARK, arXiv 2509.22624,
 * test-time scaling; 2, 4 or 5 calls with two rounds). Greedy throughout. Accepted is what the pointwise
 * judge answers with exactly its positive verdict; an answer that cannot be extracted is not accepted
 * without a call. A reflection quotes the answer as wrong, or the whole attempt where it has none. The
 * paper's penalty of repetitions (1.05) is not applied.
 */
export function reflect(
  options: { rounds?: number; templates?: "task" | "english" } = {},
): Inference {
  const { values, described } = parseOptions("reflect", shape, options);
  return {
    block: "reflect",
    options: described,
    inspect({ binaryRewards: _, ...run }) {
      // Verdicts are the judge's own here: rewards need not be 0 or 1.
      return inspectRecycling("reflect", values, { ...run, binaryRewards: true });
    },
    async run(prompts, ctx) {
      const formsFor = formsOf(values, ctx);
      const asked = await ask(prompts, ctx);
      const courses = asked.map((last, i): Course => {
        const { tokens: _, ...question } = prompts[i]!;
        const trace = [callOf("answer", last)];
        return { question, forms: formsFor(question), trace, verdicts: [], answers: 1, last };
      });
      for (;;) {
        const next = (course: Course) => nextCall(course.answers, course.verdicts, values.rounds);
        const judging = courses.filter((course) => next(course) === "judge");
        if (judging.length > 0) await judge(judging, ctx);
        const reflecting = courses.filter((course) => next(course) === "reflect");
        if (reflecting.length === 0) break;
        await revise(reflecting, ctx);
      }
      return courses.map(({ question, forms, trace, verdicts, last }) => {
        const info: ReflectInfo = {
          answer: forms.answer(last.text, question.kind),
          accepted: verdicts.at(-1) === true,
          rounds: verdicts.length,
          calls: trace.length,
          trace,
        };
        return { ...last, info: { ...last.info, ...info } };
      });
    },
  };
}

function ask(prompts: readonly Prompt[], ctx: InferenceContext): Promise<Trajectory[]> {
  return ctx.sample({ prompts, counts: 1, greedy: true });
}

function callOf(kind: string, { prompt, text }: Trajectory): SolveCall {
  return {
    kind,
    prompt: prompt.messages.map(({ content }) => content).join(""),
    completion: text,
  };
}

async function judge(courses: readonly Course[], ctx: InferenceContext): Promise<void> {
  const answered = courses.flatMap((course) => {
    const answer = course.forms.answer(course.last.text, course.question.kind);
    if (answer === null) course.verdicts.push(false);
    return answer === null ? [] : [{ course, answer }];
  });
  if (answered.length === 0) return;
  const verdicts = await ask(
    answered.map(({ course: { question, forms }, answer }) =>
      // Whether it is right is not known here: nobody reads the label.
      ctx.tokenize(pointwiseQuestion(forms, question, 0, { answer, right: true })),
    ),
    ctx,
  );
  for (const [i, verdict] of verdicts.entries()) {
    const { course } = answered[i]!;
    course.trace.push(callOf("pointwise", verdict));
    const { forms } = course;
    course.verdicts.push(forms.answer(verdict.text, "pointwise") === forms.pointwise[0]!.right);
  }
}

async function revise(courses: readonly Course[], ctx: InferenceContext): Promise<void> {
  const prompts = courses.map(({ question, forms, last }) => {
    const answer = forms.answer(last.text, question.kind);
    const attempt = answer === null ? { trace: last.text } : { answer };
    const templates = answer === null ? forms.reflectTrace : forms.reflectAnswer;
    const wrong = templates.findIndex(({ says }) => says === "wrong");
    return ctx.tokenize(reflectionQuestion(forms, question, Math.max(0, wrong), attempt));
  });
  const revised = await ask(prompts, ctx);
  for (const [i, course] of courses.entries()) {
    course.last = revised[i]!;
    course.answers += 1;
    course.trace.push(callOf(prompts[i]!.kind!, revised[i]!));
  }
}
