import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { enginePath } from '../core/engine-path.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';

/** What this control plane speaks: docs/protocols/control.md, docs/formats. */
export const PROTOCOL_VERSION = 1;
export const TREE_VERSION = 1;
export const PRIVATE_VERSION = 1;

const VERSION_LINE = /^templatefs-engine (\S+) protocol (\d+) tree (\d+) private (\d+)(?: state (\d+))?$/;

/** What an engine says of itself. */
export interface EngineVersion {
  readonly version: string;
  /** The form of the state that it can take over; null: it takes none. */
  readonly stateVersion: number | null;
}

/** Checks the line that `templatefs-engine --version` prints. @throws ENGINE_MISMATCH */
export function checkVersionLine(line: string, binary: string): EngineVersion {
  const match = VERSION_LINE.exec(line.trim());
  const wanted = `protocol ${PROTOCOL_VERSION} tree ${TREE_VERSION} private ${PRIVATE_VERSION}`;
  const found = match === null ? JSON.stringify(line.trim().slice(0, 100)) : line.trim();
  if (match?.slice(2, 5).join(' ') !== `${PROTOCOL_VERSION} ${TREE_VERSION} ${PRIVATE_VERSION}`) {
    throw new TemplatefsError('ENGINE_MISMATCH', `the engine ${binary} is ${found}; this templatefs needs ${wanted}`, {
      hint: 'build both together: npm run build (and see that TEMPLATEFS_ENGINE names no old engine)',
    });
  }
  return { version: match[1] ?? '', stateVersion: match[5] === undefined ? null : Number(match[5]) };
}

let checked: { readonly binary: string; readonly answer: Promise<unknown> } | undefined;

/**
 * Finds the engine and makes sure, once a process, that it speaks this control plane's protocol.
 *
 * @returns the path of the executable @throws ENGINE_FAILED, ENGINE_MISMATCH
 */
export async function findEngine(): Promise<string> {
  const binary = enginePath();
  // Those who ask at once wait for one answer; one that is an error is asked for again.
  if (checked?.binary !== binary) {
    const asked = { binary, answer: askVersion(binary) };
    asked.answer.catch(() => { if (checked === asked) checked = undefined; });
    checked = asked;
  }
  await checked.answer;
  return binary;
}

/** Asks an engine for its version. @throws ENGINE_FAILED when it does not run, ENGINE_MISMATCH */
export async function askVersion(binary: string): Promise<EngineVersion> {
  let line: string;
  try {
    ({ stdout: line } = await promisify(execFile)(binary, ['--version'], { timeout: 10_000 }));
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'is not there' : 'does not run';
    throw new TemplatefsError('ENGINE_FAILED', `the engine ${binary} ${why}`, {
      hint: 'build it: npm run setup',
      cause: error,
    });
  }
  return checkVersionLine(line, binary);
}
