import type { Expression } from "./expression.js";
import { NotMath } from "./lex.js";

/** Functions of one argument, or of several in brackets. */
export const functions = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp min max".split(" "),
);
const inverses: Readonly<Record<string, string>> = {
  sin: "arcsin",
  cos: "arccos",
  tan: "arctan",
};
export const greek = new Set(
  (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho " +
    "sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell"
  ).split(" "),
);
/** Signs of a product, as commands. */
export const products = new Set(["cdot", "times", "ast"]);

/** sin^{-1} is the inverse function; other powers are taken of the value. */
export function inverted(name: string, power: Expression | null): [string, Expression | null] {
  const isMinusOne =
    power?.kind === "negate" && power.of.kind === "number" && power.of.value.n === power.of.value.d;
  if (!isMinusOne) return [name, power];
  const inverse = inverses[name];
  if (inverse === undefined) throw new NotMath(`the power -1 of ${name}`);
  return [inverse, null];
}
