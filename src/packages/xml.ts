// Reads the small part of XML in which repositories describe themselves. No DTDs, no entities beyond the five of XML: such
// a document is refused, so there is nothing to expand.

import { TemplatefsError } from '../core/errors.js';

export interface XmlElement {
  /** As it is written, with its prefix. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** Its own text, without that of its children. */
  readonly text: string;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

/** One piece of markup, or the text up to the next one. */
const TOKEN = /<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<\?[\s\S]*?\?>|<\/([^\s<>/]+)\s*>|<([^\s<>/!?=]+)((?:\s+[^\s<>/=]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;
const ATTRIBUTE = /([^\s<>/=]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/g;

function bad(what: string, problem: string): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `${what} cannot be read: ${problem}`, { hint: 'the repository is broken: name another mirror' });
}

function unescape(text: string, what: string): string {
  return text.replace(/&([^;&]*);?/g, (whole, name: string) => {
    const known = ENTITIES[name];
    if (known !== undefined && whole.endsWith(';')) return known;
    const number = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name);
    const code = number === null ? NaN : number[1] === undefined ? Number(number[2]) : parseInt(number[1], 16);
    if (!(code <= 0x10ffff)) throw bad(what, `unknown entity ${whole}`);
    return String.fromCodePoint(code);
  });
}

interface OpenElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: XmlElement[];
  text: string;
}

/**
 * Reads one element with all that it holds.
 *
 * @param what names the document in errors
 * @throws INTEGRITY when it is not well-formed
 */
export function readXml(text: string, what: string): XmlElement {
  const top: OpenElement = { name: '', attributes: {}, children: [], text: '' };
  const open: OpenElement[] = [top];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw bad(what, `not XML at character ${at}`);
    const [, data, closed, opened, attributes = '', empty, plain] = match;
    const current = open.at(-1) ?? top;
    if (plain !== undefined) current.text += unescape(plain, what);
    else if (data !== undefined) current.text += data;
    else if (closed !== undefined) {
      if (open.length === 1 || current.name !== closed) throw bad(what, `</${closed}> at character ${at} closes nothing`);
      open.pop();
      (open.at(-1) ?? top).children.push(current);
    } else if (opened !== undefined) {
      const values = [...attributes.matchAll(ATTRIBUTE)].map(([, name = '', double, single]) => [name, unescape(double ?? single ?? '', what)] as const);
      const element: OpenElement = { name: opened, attributes: Object.fromEntries(values), children: [], text: '' };
      if (empty === '/') current.children.push(element);
      else open.push(element);
      if (open.length > 100) throw bad(what, 'nested too deeply');
    }
  }
  const [root] = top.children;
  if (open.length > 1 || root === undefined) throw bad(what, 'it ends too early');
  if (top.children.length > 1 || top.text.trim() !== '') throw bad(what, 'it holds more than one element');
  return root;
}

/** The first child of that name; prefixes count. */
export function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name);
}
