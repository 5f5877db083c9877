import { readFile } from 'node:fs/promises';
import { TemplatefsError } from '../../src/core/errors.js';
import type { BenchResult } from './result.js';
import { renderMachine, renderOverview, summarizeAll } from './tables.js';
import { writeWhole } from '../../src/cli/report/write-whole.js';

const BEGIN = '<!-- bench: begin; written by npm run bench -- --document FILE -->';
const END = '<!-- bench: end -->';

/** A document's text with a table in place of what stood between its marks. @throws FAILED when it has no marks */
export function replaceTable(text: string, table: string, name: string): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new TemplatefsError('FAILED', `${name} has no place for the table`, { hint: `put there, on lines of their own: ${BEGIN} and ${END}` });
  return `${text.slice(0, begin)}${BEGIN}\n${table}\n${text.slice(end)}`;
}

/** Writes date, machine and the table of a result into a document, between its marks. */
export async function writeDocument(file: string, result: BenchResult, subject: string): Promise<void> {
  const table = `${renderMachine(result)}; ratios of medians, lower is better, the figures of peers are ratios too:\n\n${renderOverview(summarizeAll(result, subject), subject)}`;
  await writeWhole(file, replaceTable(await readFile(file, 'utf8'), table, file));
}
