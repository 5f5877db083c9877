import type { StorePaths } from '../core/store-paths.js';
import { TemplatefsError } from '../core/errors.js';
import { controlRequest, type ControlReply } from './control-client.js';
import { runEngine } from './run-engine.js';

/** Who keeps the limit in bytes; that of inodes is always the engine's. docs/quotas.md. */
export type QuotaEnforcer = 'engine' | 'btrfs' | 'project';

/** What a container takes against its limits. */
export interface QuotaUse {
  /** null where nobody counts: a mounted container without such a limit. */
  readonly usedBytes: number | null;
  readonly usedInodes: number | null;
  readonly enforcedBy: QuotaEnforcer;
}

/** A limit; null is none. */
export type QuotaLimit = number | null;

export interface QuotaChange {
  /** Left out: as it is. */
  readonly sizeBytes?: QuotaLimit;
  readonly inodes?: QuotaLimit;
}

function limitText(limit: QuotaLimit): string {
  return limit === null ? 'none' : String(limit);
}

function quotaUse(values: ControlReply): QuotaUse {
  const number = (key: string): number | null => (values.has(key) ? Number(values.get(key)) : null);
  const enforcer = values.get('enforced_by');
  if (enforcer !== 'engine' && enforcer !== 'btrfs' && enforcer !== 'project') {
    throw new TemplatefsError('ENGINE_MISMATCH', 'the engine does not know quotas as this templatefs does', {
      hint: 'it runs since before an upgrade: unmount and mount the container',
    });
  }
  return { usedBytes: number('used_bytes'), usedInodes: number('used_inodes'), enforcedBy: enforcer };
}

/** Asks a running engine, and has it change its limits first. @throws BUSY, FAILED, ENGINE_FAILED, ENGINE_MISMATCH */
export async function engineQuota(paths: StorePaths, container: string, change: QuotaChange = {}): Promise<QuotaUse> {
  const fields = ['quota'];
  if (change.sizeBytes !== undefined) fields.push(`size=${limitText(change.sizeBytes)}`);
  if (change.inodes !== undefined) fields.push(`inodes=${limitText(change.inodes)}`);
  // Counting a container that had no limits before takes its time when it has many files.
  return quotaUse(await controlRequest(paths.controlSocket(container), fields, { timeoutMs: 120_000 }));
}

/**
 * The same for a container that no engine serves. Counts its files unless it was unmounted cleanly; only a limit that the
 * host keeps is changed here.
 */
export async function stoppedQuota(paths: StorePaths, container: string, change: QuotaChange = {}): Promise<QuotaUse> {
  let text = '';
  const size = change.sizeBytes === undefined ? [] : ['--size', limitText(change.sizeBytes)];
  await runEngine({
    verb: 'area',
    arguments: ['quota', '--store', paths.store, '--container', container, ...size],
    onOutput: (piece) => (text += piece.toString('utf8')),
  });
  const lines = text.trim().split('\n').map((line): [string, string] => {
    const space = line.indexOf(' ');
    return [line.slice(0, space), line.slice(space + 1)];
  });
  return quotaUse(new Map(lines));
}
