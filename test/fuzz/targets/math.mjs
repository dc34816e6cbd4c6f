import assert from "node:assert/strict";
import { verifiers } from "../../../dist/index.js";
import { extractions } from "../../../dist/verifiers/extract.js";

export const dictionary = [
  ..."\\frac \\sqrt \\left \\right \\begin{pmatrix} \\end{pmatrix} \\boxed{ \\text{ \\pm \\infty".split(
    " ",
  ),
  ..."\\cup \\in \\pi ^{ _{ \\binom \\log \\overline{ \\% !! 10^{ 1{,}000 e10 #### \\\\ & | °".split(
    " ",
  ),
];

/** A completion, and the label on the last line: judged in bounded time by whatever reads answers. */
export async function fuzz(bytes) {
  const text = bytes.toString("utf8");
  const at = text.lastIndexOf("\n");
  const [completion, label] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  for (const extract of Object.values(extractions)) {
    const answer = extract(completion);
    for (const verifier of [verifiers.math, verifiers.numeric, verifiers.choice, verifiers.exact]) {
      const value = verifier(answer, label);
      assert.ok(value === 0 || value === 1);
    }
  }
  if (/[\p{L}\p{N}]/u.test(label)) assert.equal(verifiers.math(label, label), 1);
  assert.equal(verifiers.math(completion, label), verifiers.math(label, completion));
}
