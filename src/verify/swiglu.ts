import { swiglu, swigluBackward } from "../engine/nn/swiglu.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { swigluGradient, swiglu as swigluReference } from "../reference/swiglu.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, values } from "./compare.js";
import { Random } from "./inputs.js";

export function swigluChecks(): Check[] {
  const family = "swiglu";
  const random = new Random(1);
  const gate = Float32Array.from([
    0,
    -0,
    1e-20,
    -100,
    100,
    -87,
    -30,
    88,
    -1.2784645,
    ...random.normals(1000, 3),
  ]);
  const up = random.normals(gate.length);
  const dY = random.normals(gate.length);
  // exp may be off by two units, and below the smallest float everything is 0.
  const relative = 12 * F32_ROUNDING;
  const tiny = 1e-35;
  return [
    {
      family,
      name: "forward and backward, from saturation to saturation",
      run(engine) {
        const want = swigluReference(gate, up);
        const d = swigluGradient(gate, up, dY);
        const got = swigluBackward(engine, { gate, up, dY });
        const sizes = Float64Array.from(gate, (x, i) => {
          const s = 1 / (1 + Math.exp(-x));
          return Math.abs(dY[i]! * up[i]!) * s * (1 + Math.abs(x) * (1 - s));
        });
        return firstOf(
          close(
            "y",
            values(swiglu(engine, gate, up)),
            want,
            (i) => relative * Math.abs(want[i]!) + tiny,
          ),
          close("dGate", values(got.dGate), d.dGate, (i) => relative * sizes[i]! + tiny),
          close("dUp", values(got.dUp), d.dUp, (i) => relative * Math.abs(d.dUp[i]!) + tiny),
        );
      },
    },
    {
      family,
      name: "gradients against central differences",
      run(engine) {
        const [g, u, d] = [gate, up, dY].map((x) => x.slice(9, 40)) as [
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        const objective = (x: ArrayLike<number>, y: ArrayLike<number>) =>
          swigluReference(x, y).reduce((sum, value, i) => sum + value * d[i]!, 0);
        const got = swigluBackward(engine, { gate: g, up: u, dY: d });
        const dGate = finiteDifference((x) => objective(x, u), g);
        const dUp = finiteDifference((x) => objective(g, x), u);
        return firstOf(
          close("dGate", values(got.dGate), dGate, 1e-5),
          close("dUp", values(got.dUp), dUp, 1e-5),
        );
      },
    },
    {
      family,
      name: "nothing in, nothing out",
      run: (engine) => close("y", values(swiglu(engine, [], [])), [], 0),
    },
  ];
}
