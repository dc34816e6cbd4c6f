import { aText, checkArguments, orNull } from "../engine/arguments.js";

/** 1 where the answer is the label to the last character, else 0; 0 where there is no answer. */
export function exact(answer: string | null, label: string): 0 | 1 {
  checkArguments({ answer, label }, { answer: orNull(aText), label: aText });
  return answer === label ? 1 : 0;
}
