import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildMiniDistribution } from './mini-distribution.js';
import type { PackageContent } from './package-content.js';
import { buildRpm, RpmRepository } from './rpm-repository.js';
import type { Scratch } from './scratch.js';
import type { SigningKey } from './signing-key.js';

/** A distribution with a definition, one repository, and a few packages beside those that it consists of. */
export interface RpmDistribution {
  /** To be named in TEMPLATEFS_TEMPLATES. */
  readonly definitions: string;
  /** `mini-1-x86_64`; its app template is `sample`. */
  readonly name: string;
  readonly repository: RpmRepository;
  /** Publishes these beside the distribution's own; in place of those that were published before. */
  publish(packages: readonly string[], key?: SigningKey | null): Promise<void>;
}

export const OLDER = '1';
export const NEWER = '2';

/** What `sample` has in each version: a file that changes, one that does not, one that goes and one that comes, a setting, a script. */
export function sampleContent(version: string): PackageContent {
  return {
    name: 'sample', version,
    files: {
      '/opt/sample/changes': `version ${version}\n`,
      '/opt/sample/stays': 'the same in all versions\n'.repeat(1000),
      [`/opt/sample/only-${version}`]: 'x',
      '/opt/sample/run': { content: `#!/bin/sh\necho sample ${version}\n`, mode: 0o755 },
      '/etc/sample.conf': `setting ${version}\n`,
      '/srv/sample/data': `data ${version}\n`.repeat(5000),
    },
    configuration: ['/etc/sample.conf'],
    requires: ['sample-lib'],
    scripts: { afterInstall: `echo "installed ${version}" >> /srv/sample-log`, afterRemove: 'echo "removed" >> /srv/sample-log' },
  };
}

export const LIBRARY: PackageContent = { name: 'sample-lib', version: '1', files: { '/opt/sample-lib/lib': 'library\n' } };

/** Builds a distribution whose package manager is the real dnf or zypper. */
export async function makeRpmDistribution(scratch: Scratch, manager: 'dnf' | 'zypper', key: SigningKey): Promise<RpmDistribution> {
  const distribution = await buildMiniDistribution(scratch.makeFolder('mini'), manager, key);
  const repository = new RpmRepository(scratch.makeFolder('repository'));
  const definitions = scratch.makeFolder('definitions');
  const name = 'mini-1-x86_64';
  const write = (path: string, text: string): void => {
    const folder = join(definitions, name, path, '..');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(definitions, name, path), text);
  };
  write('os/default/package_manager', `${manager}\n`);
  write('os/default/distribution', 'mini\n');
  write('os/default/packages', `mini-${manager}\n`);
  write('os/default/repositories', `${repository.url}\n`);
  write('os/default/keys', `${key.keyring}\n`);
  write('app/sample/default/packages', 'sample\n');
  return {
    definitions, name, repository,
    publish: (packages, signer = key) => repository.publish({ packages: [...distribution, ...packages], key: signer ?? undefined }),
  };
}

/** Builds both versions of `sample`, and what it needs. */
export async function buildSamples(folder: string, key: SigningKey): Promise<{ readonly older: string; readonly newer: string; readonly library: string }> {
  const [older, newer, library] = [await buildRpm(folder, sampleContent(OLDER), { key }), await buildRpm(folder, sampleContent(NEWER), { key }), await buildRpm(folder, LIBRARY, { key })];
  return { older, newer, library };
}
