import { PYTHON, supportFile } from './project.js';
import { runOk } from './run-program.js';
import type { Scratch } from './scratch.js';
import type { TestStore } from './test-store.js';

/** A distribution with the real dpkg and apt: mini_debian.py says what is in it. */
export interface MiniDebian {
  readonly template: string;
  readonly definitions: string;
  /** Of every command that asks for packages; they come from the older or the newer repository. */
  environment(which: 'old' | 'new'): Record<string, string>;
}

/** Builds it and imports its root. It takes some seconds. */
export async function makeMiniDebian(scratch: Scratch, store: TestStore): Promise<MiniDebian> {
  const folder = scratch.makeFolder('mini-debian');
  await runOk(PYTHON, [supportFile('mini_debian.py'), folder]);
  const template = 'mini-1-x86_64';
  await store.ok('template', 'import', template, `${folder}/root`);
  const definitions = `${folder}/definitions`;
  return { template, definitions, environment: (which) => ({ TEMPLATEFS_TEMPLATES: definitions, MINI_REPOSITORY: `file://${folder}/${which}` }) };
}
