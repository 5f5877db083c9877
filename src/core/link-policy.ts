import type { KeyValueLine } from './key-value-text.js';

/** Which files are made links: docs/merging.md. What is left out is what the next higher place says. */
export interface LinkSettings {
  readonly leastBytes?: number;
  readonly greatestBytes?: number;
  /** Absolute paths. */
  readonly paths?: readonly string[];
  /** So long a file must not have been written to. */
  readonly ageSeconds?: number;
  /** Most bytes read each second. */
  readonly bytesPerSecond?: number;
  /** Most threads that read at once; 0: as many as there are processors, up to four. */
  readonly threads?: number;
}

const NUMBERS = { 'link-least': 'leastBytes', 'link-greatest': 'greatestBytes', 'link-age': 'ageSeconds', 'link-rate': 'bytesPerSecond', 'link-threads': 'threads' } as const;

/** Reads `link-…` lines of a store's config or a container's file; others are passed over. @returns what is wrong, if something is */
export function parseLinkSettings(lines: readonly KeyValueLine[]): LinkSettings | string {
  let settings: LinkSettings = {};
  const paths: string[] = [];
  for (const { key, value } of lines) {
    if (key === 'link-path') {
      if (!value.startsWith('/')) return 'a line for link-path has no absolute path';
      paths.push(value === '/' ? value : value.replace(/\/+$/, ''));
      continue;
    }
    const name = Object.hasOwn(NUMBERS, key) ? NUMBERS[key as keyof typeof NUMBERS] : undefined;
    if (name === undefined) continue;
    if (!/^\d{1,15}$/.test(value)) return `${key} is no number`;
    settings = { ...settings, [name]: Number(value) };
  }
  return paths.length === 0 ? settings : { ...settings, paths };
}
