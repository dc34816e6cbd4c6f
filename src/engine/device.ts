import type { DeviceEngine, DeviceTensor } from "../contract/device.js";
import { Engine } from "./engine.js";
import { FiresteelError } from "./error.js";
import { Tensor } from "./tensor.js";

/** The contract promises an engine; kernels need firesteel's own. @throws FiresteelError ERR_OPTION */
export function engineOf(engine: DeviceEngine): Engine {
  if (engine instanceof Engine) return engine;
  throw new FiresteelError("ERR_OPTION", "Expected a firesteel Engine in the step's context");
}

/** As `engineOf`, for tensors. @throws FiresteelError ERR_OPTION */
export function tensorOf(tensor: DeviceTensor, name: string): Tensor {
  if (tensor instanceof Tensor) return tensor;
  throw new FiresteelError("ERR_OPTION", `Expected a firesteel Tensor for ${name}`);
}
