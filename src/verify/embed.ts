import type { Engine } from "../engine/engine.js";
import { gatherRows, scatterAddRows, scatterRows } from "../engine/nn/embed.js";
import * as reference from "../reference/embed.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values } from "./compare.js";
import { faultsOf, Random, withThreads } from "./inputs.js";

function idFault(engine: Engine, run: (own: Engine) => string | null): string | null {
  const { finding, faults } = faultsOf(engine, run);
  const right = faults.some(({ kind, count, firstRow }) => {
    return kind === "id-out-of-range" && count === 2 && firstRow === 1;
  });
  return (
    finding ?? (right ? null : `reported ${JSON.stringify(faults)} instead of 2 ids from row 1`)
  );
}

export function embedChecks(): Check[] {
  const family = "embed";
  const [rows, width] = [11, 37];
  const random = new Random(1);
  const table = random.normals(rows * width);
  const ids = Int32Array.from({ length: 40 }, () => random.integer(rows));
  const distinct = Int32Array.from(random.permutation(rows).slice(0, 6));
  const wrong = Int32Array.of(0, -1, 3, rows, 5);
  const x = random.normals(ids.length * width);
  const up = (engine: Engine) => engine.tensor(table, [rows, width]);
  const first = (count: number) => x.slice(0, count * width);
  return [
    {
      family,
      name: "gather copies rows",
      run(engine) {
        const want = Float32Array.from(reference.gatherRows(table, width, ids));
        return sameBits("y", gatherRows(engine, up(engine), ids).readSync(), want);
      },
    },
    {
      family,
      name: "gather of a wrong id gives a row of NaN and reports it",
      run: (engine) =>
        idFault(engine, (own) => {
          const want = reference.gatherRows(table, width, wrong);
          return close("y", values(gatherRows(own, up(own), wrong)), want, 0);
        }),
    },
    {
      family,
      name: "scatter replaces rows and leaves the others",
      run(engine) {
        const to = up(engine);
        scatterRows(engine, first(6), distinct, to);
        const want = reference.scatterRows(table, width, distinct, first(6));
        return sameBits("table", to.readSync(), Float32Array.from(want));
      },
    },
    {
      family,
      name: "scatter skips wrong ids and reports them",
      run: (engine) =>
        idFault(engine, (own) => {
          const to = up(own);
          scatterRows(own, first(5), wrong, to);
          return close(
            "table",
            values(to),
            reference.scatterRows(table, width, wrong, first(5)),
            0,
          );
        }),
    },
    {
      family,
      name: "scatter-add sums rows of equal ids, and skips wrong ones",
      run(engine) {
        const all = Int32Array.from([...ids, ...wrong]);
        const dY = Float32Array.from([...x, ...first(5)]);
        const to = up(engine);
        scatterAddRows(engine, dY, all, to);
        const want = reference.scatterAddRows(table, width, all, dY);
        const size = reference.scatterAddRows(table.map(Math.abs), width, all, dY.map(Math.abs));
        return close("table", values(to), want, (i) => 8 * F32_ROUNDING * size[i]!);
      },
    },
    {
      family,
      name: "scatter-add: one and two threads give the same bits",
      run(engine) {
        const [one, two] = withThreads(engine, (own) => {
          const to = up(own);
          scatterAddRows(own, x, ids, to);
          return to.readSync();
        });
        return sameBits("table", one, two);
      },
    },
    {
      family,
      name: "no ids",
      run(engine) {
        const to = up(engine);
        scatterAddRows(engine, [], [], to);
        scatterRows(engine, [], [], to);
        const none = gatherRows(engine, to, []);
        return firstOf(close("y", values(none), [], 0), sameBits("table", to.readSync(), table));
      },
    },
  ];
}
