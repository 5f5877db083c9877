import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createContainer } from '../../src/service/create-container.js';
import { destroyContainer } from '../../src/service/destroy-container.js';
import { importTemplate } from '../../src/service/import-template.js';
import { runProgram } from '../runner/run-program.js';
import type { Sample } from '../runner/sample.js';
import { CannotMeasure, type RunContext, type Scenario, type Variant } from './scenario.js';

/*
 * The same package in one container after the other. templatefs: its own command, from start to end, in a container that was stopped.
 * Others: apt-get alone, in a root that is mounted already, from packages that are there.
 */

const PACKAGE = 'php-cli';
/** The definition that says where packages come from. */
const DEFINITION = 'debian-12-x86_64';

const NEXT: Variant = { name: 'next container', ready: 'own' };
/** What a container costs that is in another state than all before. */
const ALONE: Variant = { name: 'package manager', ready: 'own' };

interface Changed {
  readonly packages: readonly unknown[];
  readonly replayed: boolean;
}

/** The folder with the packages that the first container got, by the volume's store. */
const prepared = new Map<string, Promise<string>>();
let next = 0;

function command({ input, checkout }: RunContext, container: string, more: readonly string[]): { args: readonly string[]; env: Record<string, string> } {
  const { places: { store } } = input;
  return {
    args: [join(checkout, 'bin/templatefs'), '--json', '--quiet', '--store', store.store, 'install', container, '-p', PACKAGE, ...more],
    env: { TEMPLATEFS_TEMPLATES: join(checkout, 'templates'), LC_ALL: 'C' },
  };
}

/** A container of the bench's root, which gets its packages from where those of Debian 12 do. */
async function withContainer<Result>(context: RunContext, work: (container: string) => Promise<Result>): Promise<Result> {
  const { input, signal } = context;
  const { places: { store: paths } } = input;
  const name = `install-${context.slot.replaceAll(/[^a-z0-9]/g, '-')}-${++next}`;
  await createContainer({ paths, signal }, { name, template: DEFINITION });
  try {
    return await work(name);
  } finally {
    await destroyContainer({ paths }, { name, force: true });
  }
}

/** The first container gets the package: what it downloads is kept between runs of the bench, and is what the others install. */
async function first(context: RunContext): Promise<string> {
  const { input, cacheFolder, signal } = context;
  const { places: { store } } = input;
  const kept = join(cacheFolder, 'install-cache');
  await importTemplate({ paths: store, signal }, { name: DEFINITION, source: input.tar ?? (await input.unpacked()) });
  await mkdir(store.cache, { recursive: true });
  for (const part of ['metadata', 'packages']) await cp(join(kept, part), join(store.cache, part), { recursive: true }).catch(() => undefined);
  const debs = join(store.store, 'bench-debs');
  await mkdir(debs);
  await withContainer(context, async (container) => {
    const { args, env } = command(context, container, []);
    await runProgram(args[0] ?? '', args.slice(1), { signal, env }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new CannotMeasure(`${PACKAGE} could not be installed: ${error instanceof Error ? error.message : String(error)}`);
    });
  });
  await rm(kept, { recursive: true, force: true });
  for (const part of ['metadata', 'packages']) await cp(join(store.cache, part), join(kept, part), { recursive: true });
  for (const name of await readdir(join(store.cache, 'packages'))) await cp(join(store.cache, 'packages', name), join(debs, `${name}.deb`));
  return debs;
}

function packagesOf(context: RunContext): Promise<string> {
  const key = context.input.places.store.store;
  const known = prepared.get(key) ?? first(context);
  prepared.set(key, known);
  return known;
}

async function byTemplatefs(context: RunContext): Promise<Sample> {
  await packagesOf(context);
  return withContainer(context, async (container) => {
    const { args, env } = command(context, container, context.variant === ALONE ? ['--no-replay'] : []);
    const from = process.hrtime.bigint();
    const text = await runProgram(args[0] ?? '', args.slice(1), { signal: context.signal, env });
    const value = Number(process.hrtime.bigint() - from);
    const { packages, replayed } = JSON.parse(text) as Changed;
    if (replayed !== (context.variant === NEXT)) throw new Error(`the container was ${replayed ? '' : 'not '}given what the first one got`);
    return { value, work: { packages: packages.length } };
  });
}

export const install: Scenario = {
  name: 'install',
  group: 'work',
  what: `${PACKAGE} and what it needs into a container that is like one that has it: the command \`templatefs install\` as a whole against apt-get alone, with the packages downloaded`,
  meaning: 'the same app template in all containers of a node',
  durability: 'templatefs: all of it, and what takes it back; apt-get: dpkg fsyncs each file and its database',
  variants: [NEXT, ALONE],
  input: 'debian',
  weight: 'heavy',
  only: ['overlayfs', 'templatefs'],
  needs: ['owners'],
  changesRoot: true,
  run: async (root, context) => {
    if (context.peer.name === 'templatefs') return byTemplatefs(context);
    const debs = await packagesOf(context);
    await root.unmount();
    await root.reset();
    await root.mount();
    try {
      const sandbox = ['--bind', root.path, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/run', '--tmpfs', '/tmp', '--ro-bind', debs, '/mnt'];
      const bounds = ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--cap-add', 'ALL', '--die-with-parent', '--setenv', 'DEBIAN_FRONTEND', 'noninteractive'];
      const script = 'apt-get -qq -y install /mnt/*.deb > /dev/null && php -r "exit(0);"';
      const sample = await context.driver.run(['run', 'bwrap', ...sandbox, ...bounds, '--', 'sh', '-ec', script], context.signal, { env: { LC_ALL: 'C' } });
      return { ...sample, work: { packages: (await readdir(debs)).length } };
    } finally {
      await root.unmount();
    }
  },
};
