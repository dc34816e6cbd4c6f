/** What the commands of test/NAME/run.mjs are told, and where they tell how far they are. */
import { parseArgs } from "node:util";

export const flag = { type: "boolean", default: false, read: (value) => value };

/** Any text; `initial` is the default. */
export const text = (initial) => ({ type: "string", default: initial, read: (value) => value });

/** An integer from `min` on; `initial` is the default, null that the command sees to it. */
export function whole(initial, min = 1) {
  const read = (value) => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= min && number < 2 ** 53) return number;
    throw new Error(`a whole number from ${min} on`);
  };
  return { type: "string", default: initial?.toString(), read };
}

/** One of some names. */
export function oneOf(choices) {
  const read = (value) => {
    if (choices.includes(value)) return value;
    throw new Error(`one of ${choices.join(", ")}`);
  };
  return { type: "string", default: choices[0], read };
}

/** Some of some names, with commas or the flag repeated; all by default. */
export function someOf(choices) {
  const read = (values) => {
    const given = values.flatMap((value) => value.split(","));
    if (given.every((name) => choices.includes(name))) return given;
    throw new Error(`names among ${choices.join(", ")}`);
  };
  return { type: "string", multiple: true, default: [...choices], read };
}

/**
 * The values of the flags on the command line, by name; one that is not given and has no default is
 * undefined. `--help` prints the usage and ends the process; wrong use says what is wrong and ends it with 2.
 */
export function readFlags(usage, flags) {
  try {
    const options = { ...flags, help: flag };
    const { values } = parseArgs({
      options: Object.fromEntries(
        Object.entries(options).map(([name, { read, ...option }]) => [name, option]),
      ),
    });
    if (values.help) {
      process.stdout.write(`${usage}\n`);
      process.exit(0);
    }
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, checked(name, value, flags[name])]),
    );
  } catch (error) {
    return wrongUse(error.message, usage);
  }
}

function checked(name, value, option) {
  try {
    return option?.read(value);
  } catch ({ message }) {
    throw new Error(`Expected ${message} for --${name} but received ${value}`);
  }
}

/** Ends the process as wrong use. */
export function wrongUse(message, usage) {
  process.stderr.write(`${message}\n${usage}\n`);
  process.exit(2);
}

/** One line of a terminal, overwritten by the next; nothing elsewhere. */
export function progress(line) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`.slice(0, 120));
}
