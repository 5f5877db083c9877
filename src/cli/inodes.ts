import { TemplatefsError } from '../core/errors.js';

/** Reads a number of inodes. @throws USAGE */
export function parseInodes(text: string): number {
  if (!/^[1-9]\d{0,11}$/.test(text)) {
    throw new TemplatefsError('USAGE', `not a number of inodes: ${JSON.stringify(text)}`, { hint: 'write a number from 1 up, for example: 200000' });
  }
  return Number(text);
}
