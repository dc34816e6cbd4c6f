import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A fenced block of TypeScript in a page. */
export interface Snippet {
  /** Page and line, e.g. "docs/losses.md:31". */
  place: string;
  text: string;
  /** What its `// prints: ...` lines promise, in their order; empty: it is not run. */
  prints: string[];
}

export const root = join(import.meta.dirname, "..", "..");

/** Every page that people read: those of the site that are not generated, and the README. */
export function pages(): string[] {
  const docs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" });
  const written = docs.filter((name) => name.endsWith(".md") && !/^(api|\.vitepress)\//.test(name));
  return ["README.md", ...written.map((name) => join("docs", name)).sort()];
}

const fence = /^```(?:ts|js)\n([\s\S]*?)^```$/gm;

/** The blocks of a page that import from firesteel. The others are parts that cannot stand alone. */
export function snippetsOf(page: string): Snippet[] {
  const source = readFileSync(join(root, page), "utf8");
  return [...source.matchAll(fence)]
    .map(({ 1: text, index }) => ({
      place: `${page}:${source.slice(0, index).split("\n").length}`,
      text: text!,
      prints: [...text!.matchAll(/^ *\/\/ prints: (.*)$/gm)].map(([, line]) => line!),
    }))
    .filter(({ text }) => /^import [^;]*"firesteel(\/\w+)?";$/m.test(text));
}
