import { surrogate } from "../../engine/kernels/surrogate.js";
import type { SurrogateInputs, SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import type { Form, Level } from "../../engine/kernels/surrogateTable.js";
import { surrogate as reference, type SurrogateTokens } from "../../reference/surrogate.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { family } from "./batch.js";
import {
  aggregated,
  type CallGolden,
  calls,
  everyForm,
  forms,
  kls,
  tokens,
} from "./goldenValues.js";

/** What inputs rounded to floats may move a result, relative to results of order 1 and beyond. */
const near = (want: ArrayLike<number>) => (i: number) => 2e-6 * Math.max(1, Math.abs(want[i]!));

/** Kernel and reference both. */
function goldenCheck({ name, inputs, options, ...want }: CallGolden): Check {
  return {
    family,
    name: `by hand: ${name}`,
    run(engine) {
      const got = surrogate(engine, inputs as SurrogateInputs, options);
      const oracle = reference(inputs, options);
      const both = (what: "dLogProb" | "mismatchWeight" | "dEntropy" | "dRatioBias") => {
        const expected = want[what];
        if (expected === undefined) return null;
        return firstOf(
          close(what, values(got[what]!), expected, near(expected)),
          close(`the reference's ${what}`, oracle[what], expected, 1e-12),
        );
      };
      return firstOf(
        close("loss", values(got.loss), [want.loss], near([want.loss])),
        close("the reference's loss", [oracle.loss], [want.loss], 1e-12),
        both("dLogProb"),
        both("mismatchWeight"),
        both("dEntropy"),
        both("dRatioBias"),
      );
    },
  };
}

function formGoldens(): CallGolden[] {
  return Object.entries(forms).flatMap(([form, { options, levels }]) =>
    Object.entries(levels).map(([level, [loss, dLogProb]]) => {
      const { segmentOffsets, ...rows } = everyForm;
      return {
        name: `${form}, level ${level}`,
        inputs: level === "segment" ? { ...rows, segmentOffsets } : rows,
        options: {
          ...options,
          ...{ form: form as Form, level: level as Level, aggregation: "token-sum" as const },
        },
        ...{ loss, dLogProb },
      };
    }),
  );
}

function oneToken(
  name: string,
  inputs: Omit<SurrogateTokens, "rowOffsets">,
  options: Partial<SurrogateOptions>,
  want: { loss: number; gradient: number },
): CallGolden {
  return {
    name,
    inputs: { ...inputs, rowOffsets: [0, 1] },
    options: { aggregation: "token-sum", ...options },
    loss: want.loss,
    dLogProb: [want.gradient],
  };
}

function tokenGoldens(): CallGolden[] {
  return [
    ...tokens.map((g) => {
      const logRatio = Math.log(g.ratio);
      const logProb = g.logProb ?? logRatio;
      const oldLogProb = g.logProb === undefined ? 0 : logProb - logRatio;
      const inputs = { logProb: [logProb], oldLogProb: [oldLogProb], advantage: [g.advantage] };
      return oneToken(g.name, inputs, g.options ?? {}, g);
    }),
    ...kls.map(([d, klEstimator, loss, gradient, more]) => {
      const inputs = { logProb: [-1 + d], oldLogProb: [-1 + d], refLogProb: [-1], advantage: [0] };
      const name = `${klEstimator} at a log-ratio of ${d.toFixed(3)} ${JSON.stringify(more ?? {})}`;
      return oneToken(name, inputs, { beta: 1, klEstimator, ...more }, { loss, gradient });
    }),
  ];
}

function aggregateCheck([name, losses, masks, options, want]: (typeof aggregated)[number]): Check {
  return {
    family,
    name: `by hand: ${options.aggregation}, ${name}`,
    run(engine) {
      const flat = losses.flat();
      const rowOffsets = [0];
      for (const row of losses) rowOffsets.push(rowOffsets.at(-1)! + row.length);
      // With equal policies the loss of a token is minus its advantage.
      const inputs = {
        logProb: flat.map(() => -1),
        oldLogProb: flat.map(() => -1),
        tokenAdvantage: flat.map((x) => -x),
        mask: masks.flat(),
        rowOffsets,
      };
      const { loss } = surrogate(engine, inputs, options);
      return firstOf(
        close("loss", values(loss), [want], 1e-12),
        close("the reference's loss", [reference(inputs, options).loss], [want], 1e-12),
      );
    },
  };
}

export function surrogateGoldenChecks(): Check[] {
  return [
    ...[...formGoldens(), ...tokenGoldens(), ...calls].map(goldenCheck),
    ...aggregated.map(aggregateCheck),
  ];
}
