import { TemplatefsError } from '../core/errors.js';
import { printableName } from './raw-names.js';

/** An archive that is broken, hostile or not understood. The message names the byte where it is so. */
export function badArchive(rule: string, offset: number, cause?: unknown): TemplatefsError {
  return new TemplatefsError('BAD_ARCHIVE', `bad archive at byte ${offset}: ${rule}`, {
    hint: 'nothing was imported; make the archive again, or check where it comes from',
    cause,
  });
}

/** The same with the member that it is about. */
export function badMember(member: { readonly path: string; readonly offset: number }, rule: string): TemplatefsError {
  return badArchive(`member ${JSON.stringify(printableName(member.path))}: ${rule}`, member.offset);
}

export function interrupted(what: string): TemplatefsError {
  return new TemplatefsError('INTERRUPTED', `${what} was interrupted; nothing half done is left`);
}
