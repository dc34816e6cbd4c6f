/** A signal that Ctrl-C or a polite kill gives once; a second one ends the process as ever. */
export function stopSignal(): { signal: AbortSignal; end: () => void } {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  return {
    signal: stop.signal,
    end() {
      process.off("SIGINT", interrupt);
      process.off("SIGTERM", interrupt);
    },
  };
}
