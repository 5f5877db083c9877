import { TemplatefsError, type ErrorCode } from './errors.js';

/**
 * The small text files of a store (`container`, `engine`, template records) are lines of `key value`. Values are bytes:
 * `%`, control characters and bytes above 0x7e stand as `%XX`, so that every name fits on one line.
 */
export interface KeyValueLine {
  readonly key: string;
  readonly value: string;
}

/** Writes `value` with `%`, control characters and everything outside ASCII as `%XX` of its UTF-8 bytes. */
export function escapeValue(value: string): string {
  let text = '';
  for (const byte of Buffer.from(value, 'utf8')) {
    if (byte === 0x25 || byte < 0x20 || byte > 0x7e) text += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    else text += String.fromCharCode(byte);
  }
  return text;
}

/** The inverse of {@link escapeValue}. @returns undefined if a `%` is not followed by two hex digits */
export function unescapeValue(text: string): string | undefined {
  if (!text.includes('%')) return text;
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined;
  const latin1 = text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(latin1, 'latin1').toString('utf8');
}

export interface ParseOptions {
  /** Named in errors. */
  readonly file: string;
  readonly errorCode: ErrorCode;
  readonly hint?: string;
}

/**
 * Reads `key value` lines in their order. A value may be empty; a line without a key, a missing last newline (a file
 * that was cut short) and a broken escape are refused.
 *
 * @throws `options.errorCode`, naming the file and the line
 */
export function parseKeyValues(text: string, options: ParseOptions): KeyValueLine[] {
  const refuse = (line: number, why: string): never => {
    throw new TemplatefsError(options.errorCode, `${options.file}: line ${line}: ${why}`, {
      ...(options.hint !== undefined && { hint: options.hint }),
    });
  };
  const lines: KeyValueLine[] = [];
  const rows = text.split('\n');
  if (rows.pop() !== '') refuse(rows.length + 1, 'the file is cut short');
  for (const [index, row] of rows.entries()) {
    const space = row.indexOf(' ');
    const key = space < 0 ? row : row.slice(0, space);
    const value = unescapeValue(space < 0 ? '' : row.slice(space + 1));
    if (!/^[a-z][a-z0-9-]*$/.test(key)) return refuse(index + 1, 'no valid key');
    if (value === undefined) return refuse(index + 1, 'a % without two hex digits');
    lines.push({ key, value });
  }
  return lines;
}

/** Writes lines that {@link parseKeyValues} reads back to the same keys and values. */
export function formatKeyValues(lines: readonly KeyValueLine[]): string {
  return lines.map(({ key, value }) => `${key} ${escapeValue(value)}\n`).join('');
}
