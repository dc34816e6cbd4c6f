/** A heading and what stands under it. */
export type Section = readonly [heading: string, quoted: string];

/** An instruction, what is quoted under headings, and a cue for the boxed answer. */
export function laidOut(instruction: string, sections: readonly Section[], cue: string): string {
  return [instruction, ...sections.map(([heading, quoted]) => `${heading}\n${quoted}`), cue].join(
    "\n\n",
  );
}
