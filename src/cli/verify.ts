import type { Command } from "commander";
import { invalid } from "../engine/checks.js";
import { loadBackend } from "../engine/loader.js";
import { Engine, FiresteelError } from "../index.js";
import { type CaseResult, verify } from "../verify/verify.js";
import { statusLine, type Terminal, table } from "./terminal.js";

type Device = Engine["device"];
type DeviceCase = CaseResult & { device: Device };

interface VerifyFlags {
  device?: string;
  filter?: string;
  small?: true;
  json?: true;
}

/** The devices of this machine, or the one asked for. */
function devices(asked: string | undefined): string[] {
  if (asked !== undefined) return [asked];
  return loadBackend("cuda").addon === null ? ["cpu"] : ["cpu", "cuda"];
}

function verifyDevice(
  asked: string,
  { filter, small }: VerifyFlags,
  terminal: Terminal,
): DeviceCase[] {
  // Faulty rows are part of what is checked; nobody needs to be warned of them.
  const engine = new Engine({ device: asked as Device, onFault: () => {} });
  try {
    const { device } = engine;
    const status = statusLine(terminal);
    const { cases } = verify(engine, {
      filter,
      small,
      onCase: (_, done, total) => {
        status.show(`${device}: ${done}/${total}`);
      },
    });
    status.clear();
    return cases.map((result) => ({ ...result, device }));
  } finally {
    engine.dispose();
  }
}

function asText(cases: readonly DeviceCase[]): string {
  const rows = new Map<string, { device: Device; family: string; passed: number; all: number }>();
  for (const { device, family, passed } of cases) {
    const key = `${device} ${family}`;
    const row = rows.get(key) ?? { device, family, passed: 0, all: 0 };
    rows.set(key, { ...row, passed: row.passed + (passed ? 1 : 0), all: row.all + 1 });
  }
  const summary = table(
    [...rows.values()].map((r) => [r.device, r.family, `${r.passed} of ${r.all} passed`]),
  );
  const wrong = cases.filter(({ passed }) => !passed);
  return (
    summary + wrong.map((c) => `${c.device} ${c.family}: ${c.name}\n  ${c.finding}\n`).join("")
  );
}

export function registerVerify(program: Command, terminal: Terminal): void {
  program
    .command("verify")
    .description("hold every kernel against float64 references on this machine's devices")
    .option("--device <device>", "auto, cpu or cuda; default: all that there are")
    .option("--filter <text>", 'only checks whose "family: name" contains it')
    .option("--small", "on CUDA, smaller shapes: for tools that slow a run down")
    .option("--json", "{passed, failed, cases} as an object")
    .addHelpText(
      "after",
      `
Examples:
  firesteel verify
  firesteel verify --device cpu --filter "log-prob: backward"
  firesteel verify --json

Exit code 1 when a check fails.`,
    )
    .action((flags: VerifyFlags) => {
      const { device, filter, json } = flags;
      const cases = devices(device).flatMap((asked) => verifyDevice(asked, flags, terminal));
      if (cases.length === 0) {
        throw invalid("ERR_OPTION", "--filter", 'part of a check\'s "family: name"', filter);
      }
      const failed = cases.filter(({ passed }) => !passed).length;
      const passed = cases.length - failed;
      if (json) terminal.out(`${JSON.stringify({ passed, failed, cases })}\n`);
      else terminal.out(asText(cases));
      if (failed === 0) return;
      const message = `${failed} of ${cases.length} checks failed: the kernels give wrong numbers here`;
      throw new FiresteelError("ERR_NO_DEVICE", message);
    });
}
