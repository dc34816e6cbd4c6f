import { checkEngine } from "./arguments.js";
import type { Engine, EngineOptions } from "./engine.js";
import { FiresteelError } from "./error.js";

/** Where something runs: on an engine of the caller's, or on one that is made for it. */
export interface Placement {
  engine?: Engine;
  device?: EngineOptions["device"];
  threads?: number;
}

/** @throws FiresteelError ERR_OPTION where both are said */
export function checkPlacement({ engine, device, threads }: Placement): void {
  if (engine !== undefined) checkEngine(engine);
  if (engine === undefined || (device === undefined && threads === undefined)) return;
  const message = "Expected either engine or device and threads, not both";
  throw new FiresteelError("ERR_OPTION", message);
}
