/// <reference lib="dom" />
/// <reference lib="dom.asynciterable" />
// What runs in the page is written here too. The build, which has no such reference, holds src to Node.
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeReport } from "../../src/report/report.js";
import type { RecordedRollout } from "../../src/report/rollouts/rollout.js";
import { train } from "../../src/train.js";
import { twoPhaseRun } from "../report/twoPhases.js";
import { findChromium, launch, open } from "./chromium.js";

const chromium = findChromium();
if (chromium === null) console.log("the report in a browser is skipped: no Chromium or Chrome");

/** What could end a script, a string or the data, or begin an element. */
const hostile = [
  "</script><script>alert(1)</script>",
  '<img src=x onerror="alert(2)">',
  "<!--<script>",
  "\u2028\u2029\\u003c",
  "{{ 👩‍🚀 }} $& $` %policy%",
  "__proto__",
];

/** A run of 40 steps whose last rollout is hostile in every text. */
async function hostileRun(out: string): Promise<void> {
  await train({ ...twoPhaseRun, steps: 40, evalSteps: 10, saveSteps: 40, out });
  const record = join(out, "rollouts.jsonl");
  const [first] = (await readFile(record, "utf8")).split("\n");
  const rollout = JSON.parse(first!) as RecordedRollout;
  const tokens = hostile.flatMap((text) => [text, "\n"]);
  const text = hostile.join("\n");
  const line: RecordedRollout = {
    ...{ ...rollout, step: 40, phase: hostile[0]!, kind: hostile[1]!, group: text },
    ...{ prompt: text, sampledFrom: text, label: { "</script>": [text] }, tokens },
    ...{ rewards: { [hostile[0]!]: 1, [hostile[1]!]: 0 }, mask: tokens.map((_, i) => i % 2) },
    ...{ advantage: tokens.map((_, i) => i - 6), logProb: null, weight: tokens.map(() => 1) },
  };
  await appendFile(record, `${JSON.stringify(line)}\n`);
  await appendFile(join(out, "system.txt"), `${text}\n`);
}

const count = (page: Page, selector: string) =>
  page.$$eval(selector, (elements) => elements.length);
const textOf = (page: Page, selector: string) =>
  page.$eval(selector, (element) => element.textContent ?? "");

/** How many canvases have a pixel that is not transparent, of how many. */
const drawn = (page: Page) =>
  page.$$eval("canvas", (canvases) => {
    const painted = (canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set<number>();
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3]! > 128) colours.add((data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]!);
      }
      // Axes alone are grey.
      return [...colours].some((rgb) => {
        const parts = [rgb >> 16, (rgb >> 8) & 255, rgb & 255];
        return Math.max(...parts) - Math.min(...parts) > 60;
      });
    };
    return canvases.map(painted);
  });

describe.skipIf(chromium === null)("a report in a browser", () => {
  let browser: Browser;
  let folder: string;
  let file: string;

  beforeAll(async () => {
    // One for all tests: temporaryFolder() is gone after the first.
    folder = await mkdtemp(join(tmpdir(), "firesteel-report-"));
    file = join(folder, "page.html");
    await hostileRun(join(folder, "run"));
    await writeReport(join(folder, "run"), file);
    browser = await launch(chromium!);
  });

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  test("draws every chart, fetches nothing and complains of nothing", async () => {
    const { page, complaints } = await open(browser, file);
    const titles = await page.$$eval(".chart h3", (all) => all.map((title) => title.textContent));
    expect(titles).toEqual([
      ...["Reward", "Accuracy", "Judge accuracy", "Loss", "KL divergence", "Entropy"],
      ...["Clip fractions", "Completion length", "Truncated completions", "Zero-variance groups"],
      ...["Gradient norm", "Learning rate", "Tokens per second", "Phase times"],
    ]);
    await page.click("#further summary");
    await page.waitForFunction("document.querySelectorAll('canvas').length > 20");
    const canvases = await drawn(page);
    expect(canvases).toEqual(canvases.map(() => true));
    expect(complaints).toEqual([]);
  });

  test("shows the second phase beside the first one in the same chart", async () => {
    const { page } = await open(browser, file);
    const legend = await page.$$eval(
      ".chart:first-child .legend li > span:nth-child(2)",
      (labels) => labels.map((label) => label.textContent),
    );
    expect(legend).toEqual(["policy", "recycled"]);
  });

  test("tells the values of all charts at the step that one points at, by pointer and by key", async () => {
    const { page } = await open(browser, file);
    const values = () =>
      page.$$eval(".legend .value", (all) => all.map((value) => value.textContent).join());
    const last = await values();
    // Charts follow the pointer with the next frame.
    const changed = (from: string) =>
      page.waitForFunction(
        (before) => {
          const all = document.querySelectorAll(".legend .value");
          return Array.from(all, (value) => value.textContent).join() !== before;
        },
        { polling: 50 },
        from,
      );
    // What has the focus is scrolled to, so it comes before the pointer.
    await page.focus(".plot");
    await page.hover(".plot");
    await changed(last);
    const pointed = await values();
    await page.keyboard.press("ArrowRight");
    await changed(pointed);
    expect(await textOf(page, "#told")).toMatch(/^Step \d+: policy [\d.]+, recycled [\d.]+$/);
  });

  test("narrows the rollouts by text and by every filter", async () => {
    const { page } = await open(browser, file);
    const total = 40 * 2 * 2 * 4 + 1;
    expect(await textOf(page, "#count")).toBe(`1 to 32 of ${total} rollouts`);
    expect(await count(page, ".rollout")).toBe(32);
    await page.type("input[name=text]", "👩‍🚀");
    expect(await textOf(page, "#count")).toBe("1 to 1 of 1 rollout");
    expect(await count(page, ".token.found")).toBeGreaterThan(0);
    await page.$eval("input[name=text]", (input) => {
      (input as HTMLInputElement).value = "";
    });
    await page.type("input[name=text]", "nothing has this");
    expect(await textOf(page, "#count")).toBe("No rollout matches.");
    await page.$eval("input[name=text]", (input) => {
      (input as HTMLInputElement).value = "";
    });
    await page.select("select[name=step]", "7");
    expect(await textOf(page, "#count")).toBe("1 to 16 of 16 rollouts");
    await page.select("select[name=phase]", "recycled");
    await page.select("select[name=kind]", "pairwise");
    expect(await textOf(page, "#count")).toBe("1 to 4 of 4 rollouts");
    await page.select("select[name=outcome]", "right");
    const right = await count(page, ".rollout");
    await page.select("select[name=outcome]", "wrong");
    const wrong = await count(page, ".outcome.wrong");
    expect(right + wrong).toBe(4);
  });

  test("turns pages", async () => {
    const { page } = await open(browser, file);
    const first = await textOf(page, ".group");
    await page.click("#next");
    expect(await textOf(page, "#count")).toMatch(/^33 to 64 of /);
    expect(await textOf(page, ".group")).not.toBe(first);
    await page.click("#previous");
    expect(await textOf(page, ".group")).toBe(first);
  });

  test("colours tokens by advantage, and tells a token's values by pointer, key and tap", async () => {
    const { page } = await open(browser, file);
    await page.type("input[name=text]", "__proto__");
    const background = (selector: string) =>
      page.$eval(selector, (element) => getComputedStyle(element).backgroundColor);
    const [negative, positive] = [
      await background(".token.negative"),
      await background(".token.positive"),
    ];
    expect(negative).not.toBe(positive);
    expect(await count(page, ".token.untrained")).toBeGreaterThan(hostile.length - 1);
    await page.hover(".token.positive");
    expect(await textOf(page, "#token")).toMatch(/ · advantage \+\d.* · weight 1$/);
    await page.focus(".completion");
    await page.keyboard.press("Escape");
    expect(await count(page, "#token[hidden]")).toBe(1);
    await page.keyboard.press("ArrowRight");
    expect(await count(page, "#token[hidden]")).toBe(0);
    const before = await textOf(page, "#token");
    await page.tap(".token.negative");
    expect(await textOf(page, "#token")).not.toBe(before);
  });

  test("shows hostile text as text", async () => {
    const { page, complaints } = await open(browser, file);
    await page.type("input[name=text]", "alert(1)");
    expect(await textOf(page, ".prompt")).toBe(hostile.join("\n"));
    expect(await textOf(page, ".from span")).toBe(hostile.join("\n"));
    expect(await textOf(page, ".completion")).toContain(hostile[0]);
    expect(await textOf(page, "#printed")).toContain(hostile.join("\n"));
    expect(await count(page, "img, script:not([id]) ~ script")).toBe(0);
    expect(complaints).toEqual([]);
  });

  test.each([390, 320])(
    "is readable on a phone of %i px: nothing makes the page scroll sideways",
    async (width) => {
      const { page, complaints } = await open(browser, file, { width });
      await page.type("input[name=text]", "__proto__");
      const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      expect(widths).toEqual([width, width]);
      expect(complaints).toEqual([]);
    },
  );

  test("follows the system's theme, and the button's", async () => {
    const ground = (page: Page) =>
      page.$eval("body", (body) => getComputedStyle(body).backgroundColor);
    const { page: light } = await open(browser, file);
    const { page: dark } = await open(browser, file, { dark: true });
    const [bright, dim] = [await ground(light), await ground(dark)];
    expect(bright).not.toBe(dim);
    await dark.click("#theme");
    expect(await textOf(dark, "#theme")).toBe("Theme: light");
    expect(await ground(dark)).toBe(bright);
    await dark.click("#theme");
    expect(await ground(dark)).toBe(dim);
    expect((await drawn(dark)).every((painted) => painted)).toBe(true);
  });

  test("can be printed: on paper it is light and has no controls", async () => {
    const { page } = await open(browser, file, { dark: true });
    await page.emulateMediaType("print");
    const shown = (selector: string) =>
      page.$eval(selector, (element) => getComputedStyle(element).display !== "none");
    expect(await shown("#filters")).toBe(false);
    expect(await shown("#printed")).toBe(true);
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    expect(await page.$eval("html", (root) => root.dataset.theme)).toBe("light");
    expect(await page.$eval(".uplot", (plot) => plot.clientWidth)).toBeLessThan(300);
    await page.evaluate(() => dispatchEvent(new Event("afterprint")));
    expect(await page.$eval("html", (root) => root.dataset.theme)).toBe("auto");
  });
});
