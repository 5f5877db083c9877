import type { SharedPathsSource } from '../service/shared-paths.js';
import { TemplatefsError } from '../core/errors.js';

/** One column of a table for people. */
export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly align?: 'left' | 'right';
}

/** Width of a text on a terminal, near enough: combining marks and wide characters in names are rare. */
function widthOf(text: string): number {
  return Array.from(text).length;
}

/** Rows under titles, columns two spaces apart, no trailing spaces; `empty` if there are no rows. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[], empty: string): string {
  if (rows.length === 0) return `${empty}\n`;
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ value }) => value(row)))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => widthOf(line[index] ?? ''))));
  const lines = cells.map((line) =>
    line
      .map((cell, index) => {
        const padding = ' '.repeat((widths[index] ?? 0) - widthOf(cell));
        return columns[index]?.align === 'right' ? padding + cell : cell + padding;
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** `key: value` lines with the values under one another; entries without a value are left out. */
export function formatFields(fields: readonly (readonly [string, string | null | undefined])[]): string {
  const shown = fields.filter((field): field is readonly [string, string] => typeof field[1] === 'string');
  const width = Math.max(0, ...shown.map(([key]) => key.length));
  return shown.map(([key, value]) => `${`${key}:`.padEnd(width + 2)}${value}\n`).join('');
}

/** The last line of stderr with `--json`. Errors that are no TemplatefsErrors are programmer errors: FAILED. */
export function formatJsonError(error: unknown): string {
  const { code, message, hint } = describeError(error);
  return `${JSON.stringify({ error: { code, message, ...(hint !== undefined && { hint }) } })}\n`;
}

/** An error for people. */
export function formatError(error: unknown): string {
  const { message, hint } = describeError(error);
  return `templatefs: ${message}\n${hint === undefined ? '' : `  hint: ${hint}\n`}`;
}

function describeError(error: unknown): { code: string; message: string; hint: string | undefined } {
  if (error instanceof TemplatefsError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'FAILED', message, hint: 'this was not expected; run again with TEMPLATEFS_DEBUG=1 to see where it happened' };
}

/** Whose setting the shared paths are, for people. */
export function sharedPathsOwner(from: SharedPathsSource): string {
  return from === 'default' ? 'built in' : `set by the ${from}`;
}
