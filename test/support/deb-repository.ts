import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { writePackageFiles, type PackageContent } from './package-content.js';
import { runOk } from './run-program.js';
import type { SigningKey } from './signing-key.js';

const SCRIPTS = { beforeInstall: 'preinst', afterInstall: 'postinst', beforeRemove: 'prerm', afterRemove: 'postrm' } as const;

/** Builds a .deb for all architectures with the real tool. @returns its path in `folder` */
export async function buildDeb(folder: string, content: PackageContent): Promise<string> {
  const { name, version, configuration = [], requires = [], scripts = {} } = content;
  const stage = mkdtempSync(join(folder, `stage-${name}-`));
  chmodSync(stage, 0o755);
  writePackageFiles(stage, content);
  const control = join(stage, 'DEBIAN');
  mkdirSync(control);
  const fields = {
    Package: name, Version: version, Architecture: 'all', Maintainer: 'nobody <nobody@example.org>',
    ...(requires.length > 0 && { Depends: requires.join(', ') }),
    Description: `sample ${name}`,
  };
  writeFileSync(join(control, 'control'), Object.entries(fields).map(([key, value]) => `${key}: ${value}\n`).join(''));
  if (configuration.length > 0) writeFileSync(join(control, 'conffiles'), configuration.map((path) => `${path}\n`).join(''));
  for (const [when, lines] of Object.entries(scripts)) {
    writeFileSync(join(control, SCRIPTS[when as keyof typeof SCRIPTS]), `#!/bin/sh\nset -e\n${lines}\n`, { mode: 0o755 });
  }
  const file = join(folder, `${name}_${version}_all.deb`);
  await runOk('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', stage, file]);
  rmSync(stage, { recursive: true });
  return file;
}

export interface DebPublication {
  /** Paths of .deb files. What was published before and is not named here is not offered any more. */
  readonly packages: readonly string[];
  /** Undefined: nothing is signed. */
  readonly key: SigningKey | undefined;
  /** When the metadata ends to count; left out: never. */
  readonly validUntil?: Date;
}

function sums(file: string): { readonly size: number; readonly sha256: string } {
  return { size: statSync(file).size, sha256: createHash('sha256').update(readFileSync(file)).digest('hex') };
}

/** A signed apt repository in a folder; its suite is `stable`, its component `main`. */
export class DebRepository {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    for (const part of ['pool', 'dists/stable/main/binary-amd64']) mkdirSync(join(folder, part), { recursive: true });
  }

  /** A line of a definition's `repositories`. @param url where the folder is served; left out: from the folder itself */
  line(url = `file://${this.folder}`): string {
    return `${url} stable main`;
  }

  /** Where a published package lies: to be tampered with. */
  poolFile(name: string, version: string): string {
    return join(this.folder, 'pool', `${name}_${version}_all.deb`);
  }

  /** The list of packages, whose sum the signed file holds. */
  get packagesFile(): string {
    return join(this.folder, 'dists/stable/main/binary-amd64/Packages');
  }

  async publish({ packages, key, validUntil }: DebPublication): Promise<void> {
    const stanzas: string[] = [];
    for (const source of packages) {
      const file = join(this.folder, 'pool', basename(source));
      copyFileSync(source, file);
      const { size, sha256 } = sums(file);
      stanzas.push(`${(await runOk('dpkg-deb', ['--field', file])).trim()}\nFilename: pool/${basename(file)}\nSize: ${size}\nSHA256: ${sha256}\n`);
    }
    writeFileSync(this.packagesFile, stanzas.join('\n'));
    writeFileSync(`${this.packagesFile}.gz`, gzipSync(stanzas.join('\n')));
    const suite = join(this.folder, 'dists/stable');
    const indexes = ['main/binary-amd64/Packages', 'main/binary-amd64/Packages.gz'].map((name) => {
      const { size, sha256 } = sums(join(suite, name));
      return ` ${sha256} ${size} ${name}\n`;
    });
    const date = validUntil === undefined ? new Date() : new Date(Math.min(Date.now(), validUntil.getTime() - 1000));
    const release = [
      'Origin: test', 'Label: test', 'Suite: stable', 'Codename: stable', `Date: ${date.toUTCString()}`,
      ...(validUntil === undefined ? [] : [`Valid-Until: ${validUntil.toUTCString()}`]),
      'Architectures: all amd64', 'Components: main', 'Description: packages of a test', 'SHA256:',
    ];
    const file = join(suite, 'Release');
    writeFileSync(file, `${release.join('\n')}\n${indexes.join('')}`);
    for (const signed of ['InRelease', 'Release.gpg']) rmSync(join(suite, signed), { force: true });
    if (key === undefined) return;
    await key.sign(file, join(suite, 'InRelease'), 'clear');
    await key.sign(file, join(suite, 'Release.gpg'), 'detached');
  }
}
