/** What a system says where it refuses. */
export const codes = ["ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE"];

/** An error as node gives it. */
export function refusal(code, { kind, path }) {
  const error = new Error(`${code}: injected, ${kind} '${path}'`);
  return Object.assign(error, { code, syscall: kind, path });
}

/**
 * For `watchFiles`: at operation `at` the process is as good as dead: nothing it does to files after that
 * has an effect.
 *
 * @param when "before" the operation, "half" of it (a write), or "after" it
 */
export function dyingAt(at, when) {
  let dead = false;
  return async (operation, run, half) => {
    if (dead) throw refusal("EDEAD", operation);
    if (operation.index !== at) return run();
    dead = true;
    if (when === "half") await half();
    if (when === "after") return run();
    throw refusal("EDEAD", operation);
  };
}

/** For `watchFiles`: operation `at` is refused, a write after half of it; what comes later is not. */
export function refusingAt(at, code) {
  return async (operation, run, half) => {
    if (operation.index !== at) return run();
    if (operation.kind === "write") await half();
    throw refusal(code, operation);
  };
}

/** For `watchFiles`: a SIGKILL from the process to itself at operation `at`. */
export function killingAt(at, when) {
  return async (operation, run, half) => {
    if (operation.index !== at) return run();
    if (when === "half") await half();
    if (when === "after") await run();
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  };
}
