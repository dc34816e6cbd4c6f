const signals = ["SIGINT", "SIGTERM"] as const;

/** Calls `listen` at every Ctrl-C and every polite kill. @returns what ends that */
export function onInterrupt(listen: (name: NodeJS.Signals) => void): () => void {
  for (const name of signals) process.on(name, listen);
  return () => {
    for (const name of signals) process.off(name, listen);
  };
}

export interface StopSignal {
  /** Given by the first Ctrl-C or polite kill. */
  readonly signal: AbortSignal;
  /** Given by the second, just before it ends the process as ever. */
  readonly atOnce: AbortSignal;
  end(): void;
}

/** Both count also where they came while the process was too busy to hear. */
export function stopSignal(): StopSignal {
  const stop = new AbortController();
  const atOnce = new AbortController();
  const end = onInterrupt((name) => {
    if (!stop.signal.aborted) {
      stop.abort();
      return;
    }
    end();
    atOnce.abort();
    process.kill(process.pid, name);
  });
  return { signal: stop.signal, atOnce: atOnce.signal, end };
}
