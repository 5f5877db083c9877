import { PYTHON, supportFile } from './project.js';
import { runOk, runProgram } from './run-program.js';

/** Makes a small root that holds every kind of thing: see build_root.py. */
export async function buildRoot(folder: string, ...options: string[]): Promise<string> {
  await runOk(PYTHON, [supportFile('build_root.py'), folder, ...options]);
  return folder;
}

const TAR_OPTIONS = ['--format=posix', '--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner'];

/** Packs a folder as GNU tar does at its best: nanoseconds, xattrs, ACLs, holes. */
export async function packTar(folder: string, archive: string, ...options: string[]): Promise<string> {
  await runOk('tar', [...TAR_OPTIONS, '--sparse', ...options, '-C', folder, '-cf', archive, '.']);
  return archive;
}

/** Unpacks an archive with everything that it says. */
export async function unpackTar(archive: string, folder: string): Promise<string> {
  await runOk('tar', ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '--same-owner', '-xpf', archive, '-C', folder]);
  return folder;
}

/** Compares two trees by everything that can be seen of them. @returns the differences; and how much was compared */
export async function compareTrees(wanted: string, found: string, ...options: string[]): Promise<{ differences: string; entries: number }> {
  const ended = await runProgram(PYTHON, [supportFile('compare_trees.py'), ...options, '--', wanted, found], { timeoutMs: 300_000 });
  const entries = Number(/^(\d+) entries compared, \d+ differences\n$/m.exec(ended.stdout)?.[1] ?? 0);
  if (ended.status === 0) return { differences: '', entries };
  return { differences: ended.stdout + ended.stderr, entries };
}
