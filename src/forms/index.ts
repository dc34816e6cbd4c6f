/** How questions are put before a judge and a reviser. */
export { naturalLanguage } from "./naturalLanguage.js";
export {
  fill,
  pairwiseQuestion,
  pointwiseQuestion,
  type QuestionKind,
  questionKinds,
  reflectionQuestion,
} from "./questions.js";
