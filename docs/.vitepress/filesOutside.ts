import { copyFileSync, existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { MarkdownRenderer } from "vitepress";

/**
 * Pages point at files of the repository that are no pages (tests, examples, recorded results), so that the
 * links work where the text is read there. On the site the file itself is copied beside the pages, as plain
 * text; one that does not exist fails the build.
 */
export function filesOutside(docs: URL) {
  const folder = fileURLToPath(docs);
  const root = dirname(resolve(folder));
  const found = new Set<string>();

  /** The file's path in the repository, or null where a link stays within the pages. */
  function outside(page: string, href: string): string | null {
    if (/^([a-z]+:|\/|#)/.test(href)) return null;
    const file = relative(root, resolve(dirname(join(folder, page)), href.replace(/[?#].*$/, "")));
    return file.startsWith("docs/") ? null : file;
  }

  return {
    install(md: MarkdownRenderer): void {
      md.core.ruler.push("files-outside", ({ tokens, env }) => {
        for (const token of tokens.flatMap(({ children }) => children ?? [])) {
          const href = token.type === "link_open" ? token.attrGet("href") : null;
          const file = href === null ? null : outside(env.relativePath, href);
          if (file === null) continue;
          const path = join(root, file);
          if (!existsSync(path)) throw new Error(`${env.relativePath}: no file ${file}`);
          if (!statSync(path).isFile()) throw new Error(`${env.relativePath}: ${file} is a folder`);
          found.add(file);
          token.attrSet("href", `/files/${file}.txt`);
          token.attrSet("target", "_blank");
        }
      });
    },
    copyTo(outDir: string): void {
      for (const file of [...found, "CHANGELOG.md", "LICENSE"]) {
        const to = join(outDir, "files", `${file}.txt`);
        mkdirSync(dirname(to), { recursive: true });
        copyFileSync(join(root, file), to);
      }
    },
  };
}
