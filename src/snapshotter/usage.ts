import type { ContainerdFile } from '../catalog/containerd-file.js';
import { containerdName } from '../core/containerd-names.js';
import { engineQuota } from '../engine/quota.js';
import { scanPrivateArea } from '../engine/scan.js';
import { changeMark } from '../service/change-mark.js';
import type { ServiceContext } from '../service/context.js';

/** What a snapshot takes on the disk beyond its parent. */
export interface Usage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Sums over a private area: what a copy of an overlayfs's upper folder would take, but for contents that are shared. */
export async function scannedUsage({ paths, signal }: ServiceContext, container: string): Promise<Usage> {
  const seen = new Set<number>();
  let bytes = 0;
  for (const record of await scanPrivateArea(paths, container, signal)) {
    // A whiteout has no inode of its own.
    if (record.kind === 'whiteout' || seen.has(record.inode)) continue;
    seen.add(record.inode);
    bytes += record.allocatedBytes;
  }
  return { bytes, inodes: seen.size };
}

interface Remembered {
  readonly mark: string;
  readonly usage: Usage;
}

/**
 * Usage of active snapshots. What is committed has its usage written down; a container with a limit is counted by its engine. All others are
 * looked through: as far as they have changed their parent, whatever that holds, and only if they have changed since the last time.
 */
export class ActiveUsage {
  readonly #context: ServiceContext;
  readonly #remembered = new Map<number, Remembered>();

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  async of({ id }: ContainerdFile): Promise<Usage> {
    const { paths } = this.#context;
    const container = containerdName(id);
    const mark = await changeMark(paths, container);
    const remembered = this.#remembered.get(id);
    if (remembered !== undefined && remembered.mark === mark) return remembered.usage;
    const counted = await this.#counted(container);
    if (counted !== undefined) return counted;
    const usage = await scannedUsage(this.#context, container);
    if (mark !== null) this.#remembered.set(id, { mark, usage });
    return usage;
  }

  forget({ id }: ContainerdFile): void {
    this.#remembered.delete(id);
  }

  /** @returns undefined where no engine counts both */
  async #counted(container: string): Promise<Usage | undefined> {
    try {
      const { usedBytes, usedInodes } = await engineQuota(this.#context.paths, container);
      return usedBytes === null || usedInodes === null ? undefined : { bytes: usedBytes, inodes: usedInodes };
    } catch {
      // Not mounted now.
      return undefined;
    }
  }
}
