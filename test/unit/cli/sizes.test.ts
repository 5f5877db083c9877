import { describe, expect, test } from 'vitest';
import { escapeValue, unescapeValue } from '../../../src/core/key-value-text.js';
import { formatSize, parseSize } from '../../../src/core/sizes.js';

describe('parseSize', () => {
  test.each([
    ['0', 0], ['4096', 4096], ['512K', 512 * 1024], ['10G', 10 * 1024 ** 3], ['1.5T', 1.5 * 1024 ** 4],
    ['10GiB', 10 * 1024 ** 3], ['10gb', 10 * 1024 ** 3], [' 7 m ', 7 * 1024 ** 2], ['12B', 12],
  ])('%j is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', '-1', 'G', '10X', '1e3', '0x10', '10 G G', '9999999P'])('%j is refused', (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('formatSize', () => {
  test.each([
    [0, '0 B'], [999, '999 B'], [1023, '1023 B'], [1024, '1.00 KiB'], [1536, '1.50 KiB'], [10 * 1024, '10.0 KiB'],
    [1024 ** 2 - 1, '1.00 MiB'], [250 * 1024 ** 2, '250 MiB'], [3 * 1024 ** 5, '3.00 PiB'], [-2048, '-2.00 KiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe('values in text files', () => {
  test('survive whatever they hold', () => {
    for (const value of ['', 'plain', 'a b', '100%', 'ä\n\t\x7f', '/x%41']) {
      const escaped = escapeValue(value);
      expect(escaped).toMatch(/^[ -~]*$/);
      expect(unescapeValue(escaped)).toBe(value);
    }
  });
});
