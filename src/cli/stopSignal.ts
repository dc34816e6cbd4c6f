const signals = ["SIGINT", "SIGTERM"] as const;

/** Calls `listen` at every Ctrl-C and every polite kill. @returns what ends that */
export function onInterrupt(listen: () => void): () => void {
  for (const signal of signals) process.on(signal, listen);
  return () => {
    for (const signal of signals) process.off(signal, listen);
  };
}

/** A signal that Ctrl-C or a polite kill gives once; a second one ends the process as ever. */
export function stopSignal(): { signal: AbortSignal; end: () => void } {
  const stop = new AbortController();
  const end = onInterrupt(() => {
    end();
    stop.abort();
  });
  return { signal: stop.signal, end };
}
