import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from '../runner/run-program.js';
import { CannotMeasure, FRESH, SLOW_PEERS, type RunContext, type Scenario } from './scenario.js';

const PACKAGE = 'php-cli';

/** A package and what it needs beside what the root has, downloaded once by the host's apt. @throws CannotMeasure */
export function downloadPackages({ input, cacheFolder, signal }: RunContext, name: string): Promise<string> {
  return input.prepared(name, async (folder) => {
    const status = await runProgram('cat', [join(await input.unpacked(), 'var/lib/dpkg/status')], { signal });
    const cache = join(cacheFolder, `${name}-${createHash('sha256').update(status).digest('hex').slice(0, 12)}`);
    if (!existsSync(cache)) await download(name, cache, status, signal);
    await runProgram('sh', ['-ec', 'cp "$1"/*.deb "$2"', 'sh', cache, folder], { signal });
  });
}

async function download(name: string, cache: string, status: string, signal: AbortSignal): Promise<void> {
  const half = `${cache}.half`;
  await rm(half, { recursive: true, force: true });
  await mkdir(join(half, 'partial'), { recursive: true });
  await writeFile(join(half, 'status'), status);
  const options = [`Dir::State::status=${half}/status`, `Dir::Cache::archives=${half}/`, 'Debug::NoLocking=1', 'APT::Sandbox::User=root', 'Acquire::Retries=3'];
  const install = ['-qq', '-y', '--no-install-recommends', '--download-only', ...options.flatMap((option) => ['-o', option]), 'install', name];
  try {
    await runProgram('apt-get', install, { signal }).catch(async () => {
      await runProgram('apt-get', ['-qq', 'update'], { signal });
      await runProgram('apt-get', install, { signal });
    });
  } catch (error) {
    signal.throwIfAborted();
    throw new CannotMeasure(`${name} could not be downloaded: ${error instanceof Error ? error.message : String(error)}`);
  }
  await rename(half, cache);
}

/** Arguments of bwrap: a root without network, with the packages in /mnt. */
export function sandbox(root: string, packages: string): string[] {
  const folders = ['--bind', root, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/run', '--ro-bind', packages, '/mnt'];
  const bounds = ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--cap-add', 'ALL', '--die-with-parent', '--setenv', 'DEBIAN_FRONTEND', 'noninteractive'];
  return [...folders, ...bounds];
}

export const installScript = 'apt-get -qq -y --no-install-recommends install /mnt/*.deb > /dev/null';

export const aptInstall: Scenario = {
  name: 'apt-install',
  group: 'work',
  what: `apt-get install of ${PACKAGE} and what it needs, from packages that are there, in a sandbox without network on a fresh root`,
  meaning: 'installing and updating software in a container',
  durability: 'dpkg fsyncs each file and its database before it renames them; with overlayfs-volatile nothing is on disk',
  variants: [FRESH],
  input: 'debian',
  weight: 'heavy',
  also: ['overlayfs-volatile'],
  without: SLOW_PEERS,
  needs: ['owners'],
  prepare: async (_root, context) => {
    await downloadPackages(context, PACKAGE);
  },
  run: async (root, context) => {
    const packages = await downloadPackages(context, PACKAGE);
    const script = `${installScript} && php -r "exit(0);"`;
    return context.driver.run(['run', 'bwrap', ...sandbox(root.path, packages), '--', 'sh', '-ec', script], context.signal, { env: { LC_ALL: 'C' } });
  },
};
