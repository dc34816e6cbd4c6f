import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** What the head of a Linux binary says. */
export interface ElfHead {
  /** The processor it is for, as `process.arch` calls it. */
  arch: string;
  /** Bytes that the file must have at least: its section table stands last. */
  bytes: number;
  /** Bytes that it has. */
  size: number;
  /** The loader that a program asks for, e.g. /lib/ld-musl-x86_64.so.1. */
  interpreter: string | null;
}

const archs: Readonly<Record<number, string>> = { 3: "ia32", 40: "arm", 62: "x64", 183: "arm64" };
const interpreterSegment = 3;

/** Reads the head of a 64-bit ELF file; null where it is none. @throws what opening it throws */
export function readElf(path: string): ElfHead | null {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const at = (offset: number, length: number) => {
      const bytes = Buffer.alloc(length);
      readSync(file, bytes, 0, length, offset);
      return bytes;
    };
    const head = at(0, 64);
    const sixtyFourBits = head[4] === 2 && head[5] === 1;
    if (head.toString("latin1", 0, 4) !== "\x7fELF" || !sixtyFourBits) return null;
    const sections = Number(head.readBigUInt64LE(40));
    const segments = at(
      Number(head.readBigUInt64LE(32)),
      head.readUInt16LE(54) * head.readUInt16LE(56),
    );
    let interpreter: string | null = null;
    for (let i = 0; i + 56 <= segments.length; i += head.readUInt16LE(54)) {
      if (segments.readUInt32LE(i) !== interpreterSegment) continue;
      const length = Number(segments.readBigUInt64LE(i + 32));
      interpreter = at(Number(segments.readBigUInt64LE(i + 8)), Math.min(length, 4096))
        .toString("latin1")
        .replace(/\0.*$/s, "");
    }
    const machine = head.readUInt16LE(18);
    return {
      arch: archs[machine] ?? `processor ${machine}`,
      bytes: sections + head.readUInt16LE(58) * head.readUInt16LE(60),
      size,
      interpreter,
    };
  } finally {
    closeSync(file);
  }
}
