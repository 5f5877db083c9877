import type { Command } from 'commander';
import type { CommandHost } from './command-host.js';

type MakeCommand = (host: CommandHost) => Command;

/** A command of the program, and where it is: loading all of them takes longer than most of them run. */
export interface ListedCommand {
  /** The command's name, then its other names. */
  readonly names: readonly string[];
  readonly load: () => Promise<MakeCommand>;
}

/** In the order of the help. */
export const COMMANDS: readonly ListedCommand[] = [
  { names: ['template'], load: async () => (await import('./commands/template.js')).templateCommand },
  { names: ['create'], load: async () => (await import('./commands/create.js')).createCommand },
  { names: ['mount'], load: async () => (await import('./commands/mount.js')).mountCommand },
  { names: ['umount', 'unmount'], load: async () => (await import('./commands/umount.js')).umountCommand },
  { names: ['exec'], load: async () => (await import('./commands/exec.js')).execCommand },
  { names: ['install'], load: async () => (await import('./commands/packages.js')).installCommand },
  { names: ['update'], load: async () => (await import('./commands/packages.js')).updateCommand },
  { names: ['remove'], load: async () => (await import('./commands/packages.js')).removeCommand },
  { names: ['localinstall'], load: async () => (await import('./commands/packages.js')).localinstallCommand },
  { names: ['rollback'], load: async () => (await import('./commands/package-queries.js')).rollbackCommand },
  { names: ['status'], load: async () => (await import('./commands/package-queries.js')).statusCommand },
  { names: ['fetch'], load: async () => (await import('./commands/package-queries.js')).fetchCommand },
  { names: ['clean'], load: async () => (await import('./commands/package-queries.js')).cleanCommand },
  { names: ['bundle'], load: async () => (await import('./commands/bundle.js')).bundleCommand },
  { names: ['export'], load: async () => (await import('./commands/export.js')).exportCommand },
  { names: ['list', 'ls'], load: async () => (await import('./commands/list.js')).listCommand },
  { names: ['info'], load: async () => (await import('./commands/info.js')).infoCommand },
  { names: ['diff'], load: async () => (await import('./commands/diff.js')).diffCommand },
  { names: ['clone', 'copy'], load: async () => (await import('./commands/clone.js')).cloneCommand },
  { names: ['commit'], load: async () => (await import('./commands/commit.js')).commitCommand },
  { names: ['snapshot'], load: async () => (await import('./commands/snapshot.js')).snapshotCommand },
  { names: ['restore'], load: async () => (await import('./commands/restore.js')).restoreCommand },
  { names: ['backup'], load: async () => (await import('./commands/backup.js')).backupCommand },
  { names: ['destroy'], load: async () => (await import('./commands/destroy.js')).destroyCommand },
  { names: ['quota'], load: async () => (await import('./commands/quota.js')).quotaCommand },
  { names: ['link', 'dedup'], load: async () => (await import('./commands/link.js')).linkCommand },
  { names: ['stats'], load: async () => (await import('./commands/stats.js')).statsCommand },
  { names: ['explain'], load: async () => (await import('./commands/explain.js')).explainCommand },
  { names: ['du'], load: async () => (await import('./commands/du.js')).duCommand },
  { names: ['query'], load: async () => (await import('./commands/query.js')).queryCommand },
  { names: ['verify'], load: async () => (await import('./commands/verify.js')).verifyCommand },
  { names: ['gc'], load: async () => (await import('./commands/gc.js')).gcCommand },
  { names: ['catalog'], load: async () => (await import('./commands/catalog.js')).catalogCommand },
  { names: ['engine'], load: async () => (await import('./commands/engine.js')).engineCommand },
  { names: ['snapshotter'], load: async () => (await import('./commands/snapshotter.js')).snapshotterCommand },
];

/** Global options that are followed by a value. */
const WITH_VALUE = new Set(['--store', '--wait']);

/** The commands that a command line may mean: the one that it names, or all, for help and for a word that is none. */
export function commandsFor(argv: readonly string[]): readonly ListedCommand[] {
  let at = 0;
  while (argv[at]?.startsWith('-') === true) at += WITH_VALUE.has(argv[at] ?? '') ? 2 : 1;
  const word = argv[at];
  if (word === undefined && argv.some((option) => option === '--version' || option === '-V')) return [];
  const named = COMMANDS.find(({ names }) => names.includes(word ?? ''));
  return named === undefined ? COMMANDS : [named];
}
