import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';

/** What a figure depends on and a reader must know. No names of hosts. */
export interface Machine {
  readonly cores: number;
  readonly cpu: string;
  readonly kernel: string;
  readonly memoryBytes: number;
  /** Of the last minute, when the run began: what else was running. */
  readonly load: number;
  /** Of the checkout; undefined outside of one. */
  readonly commit: string | undefined;
}

function commitOf(folder: string): string | undefined {
  try {
    const git = (...args: string[]): string => execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '--', 'native', 'src', 'bench') === '' ? '' : ' with changes');
  } catch {
    return undefined;
  }
}

export function describeMachine(checkout: string): Machine {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    // A version, without what a distribution or a provider adds to it.
    kernel: /^\d+\.\d+/.exec(release())?.[0] ?? release(),
    memoryBytes: totalmem(),
    load: loadavg()[0] ?? 0,
    commit: commitOf(checkout),
  };
}
