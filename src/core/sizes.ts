import { TemplatefsError } from './errors.js';

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
  p: 1024 ** 5,
};

/**
 * Reads a size as users write it: `4096`, `512K`, `10G`, `1.5T`, `10GiB`, `10GB`. Suffixes are powers of 1024, as in
 * `ls`, `du` and the tools for containers.
 *
 * @returns bytes, a safe integer @throws USAGE
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  const factor = FACTORS[match?.[2]?.toLowerCase() ?? 'none'];
  const bytes = match === null || factor === undefined ? NaN : Math.round(Number(match[1]) * factor);
  if (!Number.isSafeInteger(bytes)) {
    throw new TemplatefsError('USAGE', `not a size: ${JSON.stringify(text)}`, {
      hint: 'write a number of bytes, or a number with K, M, G or T: 512M, 10G, 1.5T',
    });
  }
  return bytes;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Writes a size for people: `0 B`, `999 B`, `1.5 KiB`, `12 MiB`. Three digits are enough to compare by eye. */
export function formatSize(sizeBytes: number): string {
  const sign = sizeBytes < 0 ? '-' : '';
  let value = Math.abs(sizeBytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  let digits = unit === 0 || value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
  if (digits === '1024' && unit < UNITS.length - 1) {
    digits = '1.00';
    unit++;
  }
  return `${sign}${digits} ${UNITS[unit] ?? 'B'}`;
}
