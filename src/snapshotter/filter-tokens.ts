import { STATUS, StatusError } from './status.js';

/** A piece of a filter, with where it begins. */
export interface Token {
  readonly kind: 'text' | 'quoted' | 'separator' | 'operator';
  readonly text: string;
  readonly at: number;
}

export function badFilter(filter: string, at: number, why: string): StatusError {
  return new StatusError(STATUS.invalidArgument, `filter ${JSON.stringify(filter)}, at ${at}: ${why}`);
}

const SPACE = /\s*/y;
const FIELD = /[A-Za-z0-9_-]+/y;
const OPERATOR = /[=!~]+/y;
/** After an operator nearly everything belongs to the value. */
const VALUE = /[^\s,]+/y;
const QUOTED = /(["/|])((?:\\.|(?!\1)[^\\\n])*)\1/sy;

function take(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

const ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\' };

/** Between `"` as in Go; between `/` or `|`, which are there for regular expressions, a backslash only stands before the mark itself. */
function unquote(mark: string, body: string): string | undefined {
  if (mark !== '"') return body.replaceAll(`\\${mark}`, mark);
  const wrong: string[] = [];
  const text = body.replace(/\\(?:([abfnrtv\\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)/gs, (all, ...groups: (string | undefined)[]) => {
    const [plain, octal, hex, four, eight] = groups;
    if (plain !== undefined) return ESCAPES[plain] ?? plain;
    const number = octal !== undefined ? parseInt(octal, 8) : parseInt(hex ?? four ?? eight ?? '', 16);
    if (number <= 0x10ffff) return String.fromCodePoint(number);
    wrong.push(all);
    return '';
  });
  return wrong.length > 0 ? undefined : text;
}

/** Cuts a filter of containerd into pieces. @throws StatusError (invalid argument) */
export function filterTokens(filter: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let afterOperator = false;
  for (;;) {
    at += take(SPACE, filter, at)?.[0].length ?? 0;
    if (at >= filter.length) return tokens;
    const first = filter.charAt(at);
    if (first === ',' || first === '.') {
      tokens.push({ kind: 'separator', text: first, at });
      at += 1;
      afterOperator = false;
      continue;
    }
    if ('"/|'.includes(first)) {
      const quoted = take(QUOTED, filter, at);
      const text = quoted === null ? undefined : unquote(first, quoted[2] ?? '');
      if (quoted === null || text === undefined) throw badFilter(filter, at, 'a quoted text without an end, or with an escape that is none');
      tokens.push({ kind: 'quoted', text, at });
      at += quoted[0].length;
      afterOperator = false;
      continue;
    }
    const operator = take(OPERATOR, filter, at);
    const text = operator ?? take(afterOperator ? VALUE : FIELD, filter, at);
    if (text === null) throw badFilter(filter, at, `unexpected ${JSON.stringify(first)}`);
    tokens.push({ kind: operator === null ? 'text' : 'operator', text: text[0], at });
    at += text[0].length;
    afterOperator = operator !== null;
  }
}
