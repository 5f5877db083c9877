/**
 * File names are bytes. Inside src/store they are "raw" strings: one character, U+0000 … U+00FF, for each byte
 * (Node's `latin1`). Such strings compare in JavaScript exactly as their bytes do, work as Map keys, and take one
 * byte a character in memory; a UTF-8 string could not hold every name.
 */
export type RawName = string;

/** A raw name from ordinary text. */
export function rawFromText(text: string): RawName {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** For messages: the name as UTF-8 where it is that, with control characters and stray bytes as `\xNN`. */
export function printableName(raw: RawName): string {
  const text = Buffer.from(raw, 'latin1').toString('utf8');
  const faithful = Buffer.from(text, 'utf8').toString('latin1') === raw;
  return (faithful ? text : raw).replace(faithful ? /[\x00-\x1f\x7f-\x9f\\]/g : /[^\x20-\x7e]|\\/g, (character) =>
    `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Whether a name may stand in a folder: 1 … 255 bytes, no `/`, no NUL, neither `.` nor `..`. */
export function isValidName(raw: RawName): boolean {
  if (raw.length === 0 || raw.length > 255 || raw === '.' || raw === '..') return false;
  return !raw.includes('/') && !raw.includes('\0');
}
