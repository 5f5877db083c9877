import { join } from 'node:path';
import { badDefinition, listLines, readOptionalText } from './definition-text.js';

/** Where a site names its own mirrors. */
export const SITE_URL_MAP = '/etc/templatefs/url.map';

export interface UrlMap {
  /** Replaces each `$NAME` in `text`. @throws BAD_DEFINITION naming `file` and `line` for an unknown variable */
  expand(text: string, file: string, line: number): string;
}

async function readUrlMap(file: string): Promise<Map<string, string>> {
  const values = new Map<string, string>();
  const text = await readOptionalText(file);
  for (const line of listLines(text ?? '')) {
    const match = /^\$([A-Z][A-Z0-9_]*)\s+(\S+)$/.exec(line.text);
    const [, name, url] = match ?? [];
    if (name === undefined || url === undefined) throw badDefinition(file, line.number, `not of the form "$NAME URL": ${line.text}`);
    if (values.has(name)) throw badDefinition(file, line.number, `$${name} stands here twice`);
    values.set(name, url.replace(/\/+$/, ''));
  }
  return values;
}

/**
 * Reads the variables that definitions use for mirrors. The first that knows a name wins: the environment, the site's
 * file (TEMPLATEFS_URL_MAP or /etc/templatefs/url.map), `url.map` in each folder of the search path.
 */
export async function loadUrlMap(searchPath: readonly string[], environment: NodeJS.ProcessEnv = process.env): Promise<UrlMap> {
  const site = environment['TEMPLATEFS_URL_MAP'] ?? SITE_URL_MAP;
  const maps = await Promise.all([site, ...searchPath.map((folder) => join(folder, 'url.map'))].map(readUrlMap));
  return {
    expand: (text, file, line) =>
      text.replace(/\$(\{[^}]*\}|[A-Za-z0-9_]*)/g, (variable, rawName: string) => {
        const name = rawName.replace(/^\{(.*)\}$/, '$1');
        if (!/^[A-Z][A-Z0-9_]*$/.test(name)) throw badDefinition(file, line, `not a variable: ${variable}`);
        const fromEnvironment = environment[name];
        if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment.replace(/\/+$/, '');
        for (const map of maps) {
          const value = map.get(name);
          if (value !== undefined) return value;
        }
        throw badDefinition(file, line, `unknown variable $${name}`, `set ${name} in the environment, or add "$${name} URL" to ${site}`);
      }),
  };
}
