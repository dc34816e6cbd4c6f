import type { Engine } from "../../engine/engine.js";
import { epsPlacements, refuseEpsPlacement } from "../../engine/kernels/groupNormTable.js";
import type { GroupNormSetting } from "../../reference/groupNorm.js";
import type { Check } from "../check.js";
import {
  type BatchOptions,
  batch,
  bigGroup,
  checkValues,
  combinations,
  family,
  grpo,
  label,
  ragged,
} from "./batch.js";

/** Options beside centre, scale and scope. */
const variants: [string, Partial<GroupNormSetting>][] = [
  ["population std", { ddof: 0, eps: 1e-6 }],
  ["eps 0", { eps: 0 }],
  ["a large eps", { eps: 0.5 }],
  ["one value, kept", { singleton: "value" }],
  ["one value, kept unscaled", { singleton: "value", scale: "none" }],
  [
    "one value, kept beside a leave-one-out centre",
    { singleton: "value", center: "leave-one-out" },
  ],
  ["one value, kept in a batch's scale", { singleton: "value", scope: "batch" }],
  ["one value, kept beside an EMA", { singleton: "value", center: "ema" }],
  ["the EMA alone", { center: "ema", emaBlend: 1 }],
  ["no EMA", { center: "ema", emaBlend: 0 }],
  ["the batch's scale as a blend", { scope: "blend", scopeBlend: 1 }],
  ["the group's scale as a blend", { scope: "blend", scopeBlend: 0 }],
];
for (const scale of ["std", "leave-one-out-std"] as const) {
  const center = scale === "std" ? "mean" : "leave-one-out";
  for (const epsPlacement of Object.keys(epsPlacements) as (keyof typeof epsPlacements)[]) {
    if (refuseEpsPlacement(scale, epsPlacement) !== null) continue;
    for (const [ddof, eps] of [
      [0, 0.1],
      [1, 0],
    ] as const) {
      const name = `${scale} with ddof ${ddof}, eps ${eps} ${epsPlacement}`;
      variants.push([name, { center, scale, epsPlacement, ddof, eps }]);
    }
  }
}
for (const scope of ["group", "batch", "blend"] as const) {
  const more = { center: "median", scale: "median-deviation", zeroScale: "one", scope } as const;
  variants.push([`median deviation 0 of ${scope} divides by 1`, more]);
}
variants.push([
  "leave-one-out std 0 divides by 1",
  { center: "leave-one-out", scale: "leave-one-out-std", zeroScale: "one", eps: 1e-6 },
]);

/** Every combination and option, ragged shapes, contiguous and scattered, against float64. */
export function groupNormValueChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  const add = (name: string, b: BatchOptions, setting: GroupNormSetting) =>
    checks.push({ family, name, run: (engine) => checkValues(engine, batch(b), setting) });
  for (const setting of combinations) {
    const nulls = { seed: 2, columns: 3, missing: "values", scattered: true } as const;
    add(`${label(setting)}, keys, columns with nulls`, nulls, setting);
    add(label(setting), { seed: 1 }, setting);
    add(`${label(setting)}, columns`, { seed: 3, columns: 3, missing: "rows" }, setting);
    add(`${label(setting)}, keys`, { seed: 4, missing: "rows", scattered: true }, setting);
  }
  for (const [name, more] of variants) {
    add(name, { seed: 5, columns: 3, missing: "values" }, { ...grpo, ...more });
  }
  const big = bigGroup(device);
  for (const setting of combinations) {
    const robust = setting.scale === "median-deviation";
    if (setting.center !== (robust ? "median" : "mean")) continue;
    add(`${label(setting)}, 10,000 +- 1`, { seed: 6, shift: 1e4, missing: "rows" }, setting);
    add(
      `${label(setting)}, a group of ${big}`,
      { seed: 7, lengths: [...ragged, big], scattered: true },
      setting,
    );
  }
  return checks;
}
