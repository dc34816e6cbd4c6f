import type { DescribedOption, OptionValue } from "../contract/block.js";

/** A value as it would be written in a definition. */
function showOption(value: OptionValue): string {
  return JSON.stringify(value).replaceAll('":', '": ').replaceAll(',"', ', "');
}

/** One line an option: name, value, description. */
export function optionLines(options: readonly DescribedOption[]): string[] {
  const width = Math.max(0, ...options.map(({ name }) => name.length));
  const values = options.map(({ value }) => showOption(value));
  const valueWidth = Math.max(0, ...values.map((text) => text.length));
  return options.map(({ name, description }, i) => {
    const value = values[i]!.padEnd(valueWidth);
    return `      ${name.padEnd(width)}  ${value}  ${description}`;
  });
}
