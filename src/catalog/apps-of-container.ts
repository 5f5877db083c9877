import type { KeyValueLine } from '../core/key-value-text.js';
import type { ContainerFile } from './container-file.js';

/*
 * What is installed of app templates stands in the container file, one line `app NAME PACKAGE...` for each: it comes and goes with the
 * files of the container, also in clones, snapshots and rollbacks.
 */

const KEY = 'app';

/** An app template in a container. */
export interface InstalledApp {
  /** Of the definition: `debian-12-x86_64-php`. */
  readonly template: string;
  /** What it was installed with. */
  readonly packages: readonly string[];
}

export function appsOf(file: Pick<ContainerFile, 'other'>): InstalledApp[] {
  return file.other
    .filter(({ key }) => key === KEY)
    .map(({ value }) => {
      const [template = '', ...packages] = value.split(' ');
      return { template, packages };
    });
}

/** The file with other app templates; all else stays. */
export function withApps(file: ContainerFile, apps: readonly InstalledApp[]): ContainerFile {
  const lines: KeyValueLine[] = apps.map(({ template, packages }) => ({ key: KEY, value: [template, ...packages].join(' ') }));
  return { ...file, other: [...file.other.filter(({ key }) => key !== KEY), ...lines] };
}
