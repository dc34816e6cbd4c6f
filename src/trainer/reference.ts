import { tensorOf } from "../engine/device.js";
import { mixWeights } from "../nn/mixWeights.js";
import type { Run } from "./run.js";

/** Moves the reference policy towards the policy where the settings say so and this step is due. */
export function syncReference(run: Run, step: number): void {
  const { settings, models, engine, stored } = run;
  if (!settings.syncRefModel || step % settings.refModelSyncSteps !== 0) return;
  const current = new Map(models.policy!.parameters.map(({ name, value }) => [name, value]));
  for (const { name, value } of models.reference!.parameters) {
    const [to, from] = [tensorOf(value, name), tensorOf(current.get(name)!, name)];
    mixWeights(engine, to, from, settings.refModelMixupAlpha);
  }
  stored.delete("reference");
}
