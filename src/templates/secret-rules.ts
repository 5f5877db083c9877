import { badDefinition, type NumberedLine } from './definition-text.js';

/** What becomes of a file that scripts of packages have made and that not everybody may read, when a template is made of its container. */
export type SecretAction = 'keep' | 'empty' | 'remove' | 'remake';

export interface SecretRule {
  /** An absolute path; `*` at its end stands for the rest of a name, `/**` for all that is below. */
  readonly pattern: string;
  readonly action: SecretAction;
  /** remake: a shell command that each new container runs. */
  readonly command?: string;
}

const FORM = 'PATH keep, PATH empty, PATH remove, or PATH remake COMMAND';

/** One line of a definition's `secrets`. @throws BAD_DEFINITION */
export function readSecretRule({ text, number }: NumberedLine, file: string): SecretRule {
  const [, pattern = '', action = '', command = ''] = /^(\S+)\s+(\S+)\s*(.*)$/.exec(text) ?? [];
  if (!/^(\/[^/*\s]+)+(\*|\/\*{1,2})?$/.test(pattern) || /\/\.{1,2}(\/|$)/.test(pattern)) throw badDefinition(file, number, `not of the form "${FORM}": ${text}`, 'a path is absolute, and ends with * or /** or neither');
  if (action === 'remake' && command !== '') return { pattern, action, command };
  if ((action === 'keep' || action === 'empty' || action === 'remove') && command === '') return { pattern, action };
  throw badDefinition(file, number, `not of the form "${FORM}": ${text}`);
}

/** Whether a path of a root is one of a pattern. */
export function matchesSecret(path: string, pattern: string): boolean {
  if (pattern.endsWith('/**')) return path.startsWith(pattern.slice(0, -2));
  if (!pattern.endsWith('*')) return path === pattern;
  const start = pattern.slice(0, -1);
  return path.startsWith(start) && !path.slice(start.length).includes('/');
}
