import { TemplatefsError } from '../../core/errors.js';
import type { Repository } from '../../templates/definition.js';
import { parseParagraph } from './control-paragraphs.js';

/** One file that a Release file vouches for. */
export interface ReleaseEntry {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface ReleaseFile {
  /** When the repository was written, in ms since 1970. */
  readonly date: number;
  /** Until when it counts; undefined: for ever. */
  readonly validUntil: number | undefined;
  readonly acquireByHash: boolean;
  readonly entries: ReadonlyMap<string, ReleaseEntry>;
}

/** Debian writes `Sat, 06 Sep 2025 10:15:27 UTC`. */
function parseDate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const time = Date.parse(text.replace(/UTC$/, 'GMT'));
  return Number.isNaN(time) ? undefined : time;
}

/**
 * Reads a Release file whose signature was checked.
 *
 * @throws INTEGRITY when it is of another suite, has expired, or names no SHA-256
 */
export function parseReleaseFile(text: string, repository: Repository, now: number = Date.now()): ReleaseFile {
  const name = `${repository.uri} ${repository.suite}`;
  const fields = parseParagraph(text);
  const refuse = (why: string, hint: string): TemplatefsError => new TemplatefsError('INTEGRITY', `the metadata of ${name} ${why}`, { hint });
  const suite = repository.suite;
  const names = [fields.get('Suite'), fields.get('Codename')];
  // A signed file of another suite must not pass for this one. Security suites call themselves `stable-security` or `bookworm-security`.
  if (!names.includes(suite) && !names.some((found) => found !== undefined && suite.startsWith(`${found}/`))) {
    throw refuse(`are those of ${names.filter((found) => found !== undefined).join(', ') || 'no suite'}`, 'check the suite in the definition’s file repositories');
  }
  const validUntil = parseDate(fields.get('Valid-Until'));
  if (fields.has('Valid-Until') && validUntil === undefined) throw refuse('have an expiry that is no date', 'the mirror is broken: name another');
  if (validUntil !== undefined && validUntil < now) {
    throw refuse(`expired on ${fields.get('Valid-Until') ?? ''}`, 'the mirror is out of date, or replays old metadata: name another; and check the clock');
  }
  const entries = new Map<string, ReleaseEntry>();
  for (const line of (fields.get('SHA256') ?? '').split('\n')) {
    const match = /^([0-9a-f]{64})\s+(\d{1,15})\s+(\S+)$/.exec(line);
    const [, sha256, size, path] = match ?? [];
    if (sha256 !== undefined && size !== undefined && path !== undefined) entries.set(path, { path, sha256, sizeBytes: Number(size) });
  }
  if (entries.size === 0) throw refuse('name no file with a SHA-256', 'the repository is too old, or broken');
  const date = parseDate(fields.get('Date'));
  if (date === undefined) throw refuse('have no date', 'the repository is broken: name another mirror');
  return { date, validUntil, acquireByHash: fields.get('Acquire-By-Hash') === 'yes', entries };
}
