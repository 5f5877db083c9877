import type { PackageChange } from '../package-manager.js';

/*
 * What `apt-get --simulate` of a container prints. It comes from hostile code: it is read strictly, and a change is no more
 * than a name and versions.
 */

const NAME = '[a-z0-9][a-z0-9+.-]*';
const VERSION = '[A-Za-z0-9.+:~-]+';
const INSTALL = new RegExp(`^Inst (${NAME})(?::([a-z0-9-]+))?(?: \\[(${VERSION})\\])? \\((${VERSION}) [^()]*\\[([a-z0-9-]+)\\]\\)`);
const REMOVE = new RegExp(`^(?:Remv|Purg) (${NAME})(?::([a-z0-9-]+))?(?: \\[(${VERSION})\\])?`);

/** A change of a plan; `local` for a package that was given as a file. */
export interface AptChange extends PackageChange {
  readonly local: boolean;
}

/** The changes that a simulation names, each package once. */
export function parseSimulation(output: string): AptChange[] {
  const changes = new Map<string, AptChange>();
  for (const line of output.split('\n')) {
    const [, name, , from, to, architecture] = INSTALL.exec(line) ?? [];
    if (name !== undefined && to !== undefined && architecture !== undefined) {
      const action = from === undefined ? 'install' : from === to ? 'reinstall' : 'upgrade';
      changes.set(`${name}:${architecture}`, { name, architecture, action, from: from ?? null, to, local: / local-deb \[/.test(line) });
      continue;
    }
    const [, removed, qualifier, version] = REMOVE.exec(line) ?? [];
    if (removed !== undefined) changes.set(`${removed}:${qualifier ?? ''}`, { name: removed, architecture: qualifier ?? '', action: 'remove', from: version ?? null, to: null, local: false });
  }
  return [...changes.values()];
}

/** Errors that apt and dpkg have written, without their prefix. */
export function aptErrors(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  const errors = lines.filter((line) => /^(E: |dpkg: error)/.test(line)).map((line) => line.replace(/^E: /, ''));
  const unmet = lines.filter((line) => / : (Depends|PreDepends|Conflicts|Breaks): /.test(line));
  return [...new Set([...unmet, ...errors])];
}

/** As apt names the file of a package in its archives: pkgAcquire's QuoteString with `_` and `:`. */
export function archiveName(name: string, version: string, architecture: string): string {
  const quote = (text: string, bad: RegExp): string => text.replaceAll(bad, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `${quote(name, /[_:%]/g)}_${quote(version, /[_:%]/g)}_${quote(architecture, /[_:.%]/g)}.deb`;
}

/** As apt names the file of a URL among its lists: URItoFileName. */
export function listName(uri: string): string {
  const bare = uri.replace(/^[a-z+]+:(\/\/)?(?:[^/@]*@)?/, '');
  return bare.replaceAll(/[\\|{}[\]<>"^~_=!@#$%&*\x00-\x20\x7f-\xff]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`).replaceAll('/', '_');
}
