import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import puppeteer, { type Browser, type Page } from "puppeteer-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** FIRESTEEL_CHROMIUM, or what PATH has; null: none. */
export function findChromium(): string | null {
  const { FIRESTEEL_CHROMIUM: given, PATH = "" } = process.env;
  const onPath = PATH.split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  return [...(given === undefined ? [] : [given]), ...onPath].find(isExecutable) ?? null;
}

/** Without its sandbox: in a container there is none to be had, and it only reads files of the test. */
export function launch(executablePath: string): Promise<Browser> {
  return puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page, and everything that it does which a report must not do. */
export interface Watched {
  page: Page;
  complaints: string[];
}

/** Opens a file as somebody would who double-clicks it. */
export async function open(
  browser: Browser,
  file: string,
  { width = 1280, dark = false } = {},
): Promise<Watched> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`error: ${(error as Error).message}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    if (request.url() !== `file://${file}`) complaints.push(`request: ${request.url()}`);
  });
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
  ]);
  await page.goto(`file://${file}`);
  await page.waitForFunction("document.querySelectorAll('canvas').length > 0");
  return { page, complaints };
}
