/** A heading and what stands under it. */
type Section = readonly [heading: string, quoted: string];

/** An instruction, what is quoted under headings, and a cue for the boxed answer. */
export function laidOut(instruction: string, sections: readonly Section[], cue: string): string {
  return [instruction, ...sections.map(([heading, quoted]) => `${heading}\n${quoted}`), cue].join(
    "\n\n",
  );
}

/** Instruction, heading of the question, heading of what is quoted, cue. */
export type QuotingRow = readonly [string, string, string, string];

/** Texts that quote a question and one thing about it. */
export function quoting(rows: readonly QuotingRow[], quoted: "{answer}" | "{trace}"): string[] {
  return rows.map(([instruction, asked, heading, cue]) =>
    laidOut(
      instruction,
      [
        [asked, "{question}"],
        [heading, quoted],
      ],
      cue,
    ),
  );
}
