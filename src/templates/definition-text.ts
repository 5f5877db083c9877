import { lstat, readFile } from 'node:fs/promises';
import { isUtf8 } from 'node:buffer';
import { errnoOf, TemplatefsError } from '../core/errors.js';

export interface NumberedLine {
  readonly text: string;
  /** From 1. */
  readonly number: number;
}

/** Makes the error for a definition that cannot be used; `file` and `line` say where to look. */
export function badDefinition(file: string, line: number | undefined, problem: string, hint?: string): TemplatefsError {
  return new TemplatefsError('BAD_DEFINITION', `${file}${line === undefined ? '' : `:${line}`}: ${problem}`, {
    hint: hint ?? 'docs/templates.md describes the files of a definition',
  });
}

/** Reads a text file of a definition: a regular file, UTF-8, without control characters. @throws BAD_DEFINITION */
export async function readDefinitionText(file: string): Promise<string> {
  const status = await lstat(file);
  if (!status.isFile()) throw badDefinition(file, undefined, 'not a regular file');
  const bytes = await readFile(file);
  if (!isUtf8(bytes)) throw badDefinition(file, undefined, 'not UTF-8 text');
  const text = bytes.toString('utf8');
  text.split('\n').forEach((line, index) => {
    const found = /[\x00-\x08\x0b-\x1f\x7f]/.exec(line);
    if (found !== null) {
      throw badDefinition(file, index + 1, found[0] === '\r' ? 'ends with a carriage return; use Unix line ends' : `control character at column ${found.index + 1}`);
    }
  });
  return text;
}

/** As `readDefinitionText`; undefined when there is no such file. */
export async function readOptionalText(file: string): Promise<string | undefined> {
  try {
    return await readDefinitionText(file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The lines of a list file without blank ones and `#` comments, trimmed. */
export function listLines(text: string): NumberedLine[] {
  return text
    .split('\n')
    .map((line, index) => ({ text: line.trim(), number: index + 1 }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
}

/** The one line of a file that holds a single value. @throws BAD_DEFINITION */
export function singleLine(text: string, file: string): NumberedLine {
  const lines = listLines(text);
  const [first, second] = lines;
  if (first === undefined) throw badDefinition(file, undefined, 'empty; one line is needed');
  if (second !== undefined) throw badDefinition(file, second.number, 'only one line may stand here');
  return first;
}
