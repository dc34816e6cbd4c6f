import { FiresteelError } from "../../dist/engine/error.js";

/**
 * What a call makes of its input; null where it refuses it as it may, with a FiresteelError that says
 * why. Everything else is a finding.
 */
export async function accepted(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof FiresteelError && error.code.startsWith("ERR_") && error.message !== "") {
      return null;
    }
    throw error;
  }
}
