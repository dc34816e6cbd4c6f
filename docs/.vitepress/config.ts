import { readFileSync } from "node:fs";
import { defineConfig } from "vitepress";
import { filesOutside } from "./filesOutside.js";

const docs = new URL("..", import.meta.url);
const { version } = JSON.parse(readFileSync(new URL("../package.json", docs), "utf8"));
/** Written by typedoc, which `npm run docs:build` and `docs:dev` run first. */
const api = JSON.parse(readFileSync(new URL("api/typedoc-sidebar.json", docs), "utf8"));

/** Pages that are mostly tables. */
const wide = new Set(["systems.md", "base-algorithms.md", "kernels.md", "licences.md"]);

const page = (text: string, link: string) => ({ text, link });
const outside = filesOutside(docs);

export default defineConfig({
  title: "Firesteel",
  description: "Native engine for group-relative reinforcement learning in Node.js",
  lang: "en",
  base: process.env.DOCS_BASE ?? "/",
  cleanUrls: false,
  head: [
    [
      "link",
      { rel: "icon", type: "image/svg+xml", href: `${process.env.DOCS_BASE ?? "/"}spark.svg` },
    ],
  ],
  markdown: {
    math: false,
    config: (md) => {
      outside.install(md);
      // Blocks that are indented look like those between fences, and scroll as they do.
      md.core.ruler.push("indented-code", ({ tokens }) => {
        for (const token of tokens) {
          if (token.type === "code_block") Object.assign(token, { type: "fence", info: "" });
        }
      });
    },
  },
  transformPageData: ({ relativePath, frontmatter }) => {
    if (!wide.has(relativePath)) return;
    Object.assign(frontmatter, { pageClass: "wide", aside: false });
  },
  buildEnd: ({ outDir }) => outside.copyTo(outDir),
  themeConfig: {
    logo: "/spark.svg",
    search: { provider: "local" },
    outline: { level: [2, 3] },
    nav: [
      page("Quick start", "/quick-start"),
      page("Concepts", "/concepts/ragged-batches"),
      page("Systems", "/systems"),
      page("API", "/api/"),
      page(version, "/files/CHANGELOG.md.txt"),
    ],
    sidebar: {
      "/api/": [{ text: "API", link: "/api/", items: api }],
      "/": [
        {
          text: "Start",
          items: [page("What it is", "/"), page("Quick start", "/quick-start")],
        },
        {
          text: "Concepts",
          items: [
            page("Ragged batches", "/concepts/ragged-batches"),
            page("Streams and tensors", "/concepts/streams-and-tensors"),
            page("Ratio levels", "/concepts/ratio-levels"),
            page("Aggregation", "/concepts/aggregation"),
            page("Conventions", "/concepts/conventions"),
            page("Determinism", "/concepts/determinism"),
            page("Phases and blocks", "/concepts/phases-and-blocks"),
            page("Writing a system", "/concepts/writing-a-system"),
            page("A custom policy", "/concepts/custom-policy"),
          ],
        },
        {
          text: "Guide",
          items: [
            page("A training run", "/training"),
            page("Data and rewards", "/data"),
            page("Losses", "/losses"),
            page("SPARK", "/spark"),
            page("Flow policies", "/flow"),
            page("Scoring recorded rollouts", "/score"),
            page("Serving a policy", "/serve"),
            page("Reports", "/report"),
            page("16 bits", "/bf16"),
          ],
        },
        {
          text: "Systems",
          items: [
            page("All systems", "/systems"),
            page("Base algorithms", "/base-algorithms"),
            page("Replication", "/replicate"),
          ],
        },
        {
          text: "Evidence",
          items: [
            page("Kernels", "/kernels"),
            page("Performance", "/performance"),
            page("Scaling", "/scaling"),
            page("Reliability", "/reliability"),
          ],
        },
        { text: "Reference", items: [page("API", "/api/"), page("Licences", "/licences")] },
      ],
    },
  },
});
