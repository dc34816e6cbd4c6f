/** How questions are put before a judge and a reviser. */
export { naturalLanguage } from "./naturalLanguage.js";
export {
  fill,
  pairwiseQuestion,
  pointwiseQuestion,
  type QuestionKind,
  reflectionQuestion,
} from "./questions.js";
