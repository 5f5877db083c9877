import { SaxesParser } from 'saxes';
import { TemplatefsError } from '../core/errors.js';

export interface XmlElement {
  /** As it is written, with its prefix. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** Its own text, without that of its children. */
  readonly text: string;
}

interface OpenElement extends XmlElement {
  readonly children: XmlElement[];
  text: string;
}

const DEEPEST = 100;

/**
 * Reads one element with all that it holds. Documents with a DTD are refused: repositories describe themselves without, so
 * there is nothing to expand.
 *
 * @param what names the document in errors
 * @throws INTEGRITY when it is not well-formed
 */
export function readXml(text: string, what: string): XmlElement {
  const bad = (problem: string): TemplatefsError =>
    new TemplatefsError('INTEGRITY', `${what} cannot be read: ${problem}`, { hint: 'the repository is broken: name another mirror' });
  const top: OpenElement = { name: '', attributes: {}, children: [], text: '' };
  const open: OpenElement[] = [top];
  const current = (): OpenElement => open.at(-1) ?? top;
  const addText = (piece: string): void => { current().text += piece; };
  const parser = new SaxesParser({ xmlns: false });
  parser.on('error', (error) => { throw bad(error.message); });
  parser.on('doctype', () => { throw bad('it has a DTD'); });
  parser.on('opentag', ({ name, attributes }) => {
    if (open.length > DEEPEST) throw bad('nested too deeply');
    open.push({ name, attributes: { ...attributes }, children: [], text: '' });
  });
  parser.on('closetag', () => {
    const element = open.pop();
    if (element !== undefined) current().children.push(element);
  });
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.write(text).close();
  const [root] = top.children;
  if (root === undefined) throw bad('it holds no element');
  return root;
}

/** The first child of that name; prefixes count. */
export function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name);
}
