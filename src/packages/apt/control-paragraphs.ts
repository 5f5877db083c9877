/** A paragraph of deb822: field names as they are written, values with their continuation lines. */
export type Paragraph = ReadonlyMap<string, string>;

/** The fields of one paragraph; lines that are no fields are left out. */
export function parseParagraph(text: string): Paragraph {
  const fields = new Map<string, string>();
  let name: string | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith(' ') || line.startsWith('\t')) {
      if (name !== undefined) fields.set(name, `${fields.get(name) ?? ''}\n${line.trim()}`);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    name = line.slice(0, colon);
    fields.set(name, line.slice(colon + 1).trim());
  }
  return fields;
}

/** The names in a relation such as `libc6 (>= 2.36), php8.2-fpm:any | php8.2-cgi`: of all alternatives, without versions. */
export function relationNames(relation: string): string[] {
  return relation
    .split(/[,|]/)
    .map((part) => part.trim().replace(/[\s(:[<].*$/s, ''))
    .filter((name) => name !== '');
}
