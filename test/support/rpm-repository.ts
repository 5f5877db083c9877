import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writePackageFiles, type PackageContent } from './package-content.js';
import { runOk } from './run-program.js';
import type { SigningKey } from './signing-key.js';

const SCRIPTS = { beforeInstall: 'pre', afterInstall: 'post', beforeRemove: 'preun', afterRemove: 'postun' } as const;

/** What of the host's rpmbuild would look into the packages or depend on the host. */
const MACROS = {
  __os_install_post: '%{nil}',
  __debug_install_post: '%{nil}',
  debug_package: '%{nil}',
  _build_id_links: 'none',
  _binaries_in_noarch_packages_terminate_build: '0',
  _binary_payload: 'w1.zstdio',
  _build_name_fmt: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
};

export interface RpmOptions {
  /** Undefined: the package is not signed. */
  readonly key?: SigningKey;
  /** A folder whose whole content the package has, beside `files`. It is left empty. */
  readonly tree?: string;
  readonly provides?: readonly string[];
  /** `noarch` if left out. */
  readonly architecture?: 'noarch' | 'x86_64';
}

/** Every folder and file below `top`, as lines of %files. */
function fileLines(top: string, content: PackageContent, withFolders: boolean, under = ''): string[] {
  return readdirSync(join(top, under), { withFileTypes: true }).flatMap((entry) => {
    const path = `${under}/${entry.name}`;
    if (entry.isDirectory()) return [...(withFolders ? [`%dir "${path}"`] : []), ...fileLines(top, content, withFolders, path)];
    return [`${content.configuration?.includes(path) === true ? '%config(noreplace) ' : ''}"${path}"`];
  });
}

/** Builds a .rpm with the real tool, all files root's. @returns its path in `folder` */
export async function buildRpm(folder: string, content: PackageContent, options: RpmOptions = {}): Promise<string> {
  const { name, version, requires = [], scripts = {} } = content;
  const { architecture = 'noarch', provides = [], tree } = options;
  const top = mkdtempSync(join(folder, `build-${name}-`));
  const stage = tree ?? join(top, 'stage');
  mkdirSync(stage, { recursive: true });
  writePackageFiles(stage, content);
  const spec = [
    `Name: ${name}`, `Version: ${version}`, 'Release: 1', 'Summary: sample', 'License: none', 'AutoReqProv: no',
    ...requires.map((word) => `Requires: ${word}`),
    ...provides.map((word) => `Provides: ${word}`),
    '%description', 'sample',
    '%install', 'rm -rf %{buildroot}', `mv '${stage}' %{buildroot}`,
    ...Object.entries(scripts).flatMap(([when, lines]) => [`%${SCRIPTS[when as keyof typeof SCRIPTS]}`, 'set -e', lines]),
    // Packages of a few files own no folders, as those of distributions do not own /usr; a whole tree owns all of its own.
    '%files', '%defattr(-,root,root,-)', ...fileLines(stage, content, tree !== undefined),
  ];
  writeFileSync(join(top, `${name}.spec`), `${spec.join('\n')}\n`);
  const macros = Object.entries({ ...MACROS, _topdir: top, _tmppath: top, _rpmdir: top });
  await runOk('rpmbuild', ['-bb', '--quiet', '--target', `${architecture}-linux`, ...macros.flatMap(([macro, value]) => ['--define', `${macro} ${value}`]), join(top, `${name}.spec`)]);
  const file = join(folder, `${name}-${version}-1.${architecture}.rpm`);
  renameSync(join(top, basename(file)), file);
  rmSync(top, { recursive: true });
  await options.key?.signRpm(file);
  return file;
}

export interface RpmPublication {
  /** Paths of .rpm files. What was published before and is not named here is not offered any more. */
  readonly packages: readonly string[];
  /** Signs the metadata; undefined: it is not signed. */
  readonly key: SigningKey | undefined;
  /** When the metadata were written, by their own account; now if left out. */
  readonly time?: Date;
}

/** A repository of .rpm files in a folder, with signed metadata as dnf and zypper want it. */
export class RpmRepository {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    chmodSync(folder, 0o755);
  }

  get url(): string {
    return `file://${this.folder}`;
  }

  /** Where a published package lies: to be tampered with. */
  packageFile(name: string, version: string, architecture = 'noarch'): string {
    return join(this.folder, `${name}-${version}-1.${architecture}.rpm`);
  }

  /** The list of packages, whose sum the signed file holds. */
  get primaryFile(): string {
    const folder = join(this.folder, 'repodata');
    const name = readdirSync(folder).find((entry) => /(^|-)primary\.xml\./.test(entry));
    if (name === undefined) throw new Error(`no list of packages in ${folder}`);
    return join(folder, name);
  }

  /** The signed file. */
  get metadataFile(): string {
    return join(this.folder, 'repodata/repomd.xml');
  }

  async publish({ packages, key, time }: RpmPublication): Promise<void> {
    for (const name of readdirSync(this.folder)) if (name.endsWith('.rpm')) rmSync(join(this.folder, name));
    for (const source of packages) copyFileSync(source, join(this.folder, basename(source)));
    rmSync(join(this.folder, 'repodata'), { recursive: true, force: true });
    await runOk('createrepo_c', ['--quiet', '--no-database', '--simple-md-filenames', this.folder]);
    if (time !== undefined) {
      const stamped = readFileSync(this.metadataFile, 'utf8').replace(/<timestamp>\d+</g, `<timestamp>${Math.floor(time.getTime() / 1000)}<`);
      writeFileSync(this.metadataFile, stamped);
    }
    if (key === undefined) return;
    await key.sign(this.metadataFile, `${this.metadataFile}.asc`, 'detached');
    writeFileSync(`${this.metadataFile}.key`, readFileSync(key.armored));
  }
}
