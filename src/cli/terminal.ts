/** Where a command writes, so that it can be called from a test as from a shell. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Whether `err` is a terminal that understands carriage returns. */
  readonly interactive: boolean;
  /** Characters in a line of it. Default 80. */
  readonly columns?: number;
}

export const processTerminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  interactive: process.stderr.isTTY === true,
  get columns() {
    return process.stderr.columns;
  },
};

/** A line that is written over and over; nothing where nobody looks on. */
export function statusLine(terminal: Terminal): { show(text: string): void; clear(): void } {
  const write = (text: string) => {
    if (terminal.interactive) terminal.err(`\r\x1b[K${text}`);
  };
  return {
    // A line that wraps could not be written over.
    show: (text) => write(text.slice(0, lineLength(terminal) - 1)),
    clear: () => write(""),
  };
}

/** Characters in a line. Pseudo-terminals may say 0. */
export function lineLength({ columns }: Terminal): number {
  return columns || 80;
}

/** Columns of text, each as wide as its widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join("  ");
  return `${rows.map(line).join("\n")}\n`;
}
