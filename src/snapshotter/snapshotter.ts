import type { ContainerdFile } from '../catalog/containerd-file.js';
import { EMPTY_TEMPLATE, containerdName } from '../core/containerd-names.js';
import { commitContainer } from '../service/commit-container.js';
import type { ServiceContext } from '../service/context.js';
import { ensureEmptyTemplate } from './empty-template.js';
import { parseFilters } from './filters.js';
import { TARGET_LABEL, keptLabels, settingsOf } from './labels.js';
import type { Labels, Mount } from './messages.js';
import { now } from './now.js';
import type { Orphans } from './orphans.js';
import { ContainerdRecords } from './records.js';
import { makeRoot, mountRoot, unmountRoot } from './roots.js';
import { STATUS, StatusError } from './status.js';
import { Turns } from './turns.js';
import { ActiveUsage, scannedUsage, type Usage } from './usage.js';

export interface PrepareOptions {
  readonly kind: 'active' | 'view';
  readonly key: string;
  readonly parent: string;
  readonly labels: Labels;
}

export interface CommitOptions {
  readonly name: string;
  readonly key: string;
  readonly labels: Labels;
}

/**
 * containerd's snapshots as templates and containers: docs/snapshotter.md. An active one is a container on the template of its parent, a
 * committed one is a template, a view is a container whose root is mounted read-only. Errors are StatusErrors where containerd asked for
 * something that cannot be, and TemplatefsErrors for all else.
 */
export class Snapshotter {
  readonly #context: ServiceContext;
  readonly #records: ContainerdRecords;
  readonly #orphans: Orphans;
  readonly #usage: ActiveUsage;
  readonly #turns = new Turns();
  /** Keys of what is being made. */
  readonly #claimed = new Set<string>();
  /** Parents of what is being made, one entry each. */
  readonly #claimedParents: string[] = [];

  private constructor(context: ServiceContext, records: ContainerdRecords, orphans: Orphans) {
    this.#context = context;
    this.#records = records;
    this.#orphans = orphans;
    this.#usage = new ActiveUsage(context);
  }

  /** Takes over what is there, and clears away what a killed snapshotter has left. The caller holds the lock `snapshotter`. @throws INTEGRITY */
  static async open(context: ServiceContext, orphans: Orphans): Promise<Snapshotter> {
    const records = new ContainerdRecords(context.paths, orphans.usedIds());
    await orphans.remove(records.all());
    return new Snapshotter(context, records, orphans);
  }

  stat(key: string): ContainerdFile {
    const record = this.#records.get(key);
    if (record === undefined) throw new StatusError(STATUS.notFound, `snapshot ${key} does not exist`);
    return record;
  }

  list(filters: readonly string[]): ContainerdFile[] {
    const matches = parseFilters(filters);
    return [...this.#records.all()].filter(matches);
  }

  /** @param paths `labels` or `labels.NAME`; all labels where there are none */
  update(key: string, labels: Labels, paths: readonly string[]): ContainerdFile {
    const before = this.stat(key);
    let after = paths.length === 0 ? keptLabels(labels) : new Map(before.labels);
    for (const path of paths) {
      if (path === 'labels') {
        after = keptLabels(labels);
      } else if (path.startsWith('labels.')) {
        const name = path.slice('labels.'.length);
        const value = keptLabels({ [name]: labels[name] ?? '' }).get(name);
        if (value === undefined) after.delete(name);
        else after.set(name, value);
      } else {
        throw new StatusError(STATUS.invalidArgument, `cannot update the field ${JSON.stringify(path)} of snapshot ${key}: only labels change`);
      }
    }
    const record: ContainerdFile = { ...before, labels: after, updated: now() };
    this.#records.put(record, before);
    return record;
  }

  async usage(key: string): Promise<Usage> {
    const record = this.stat(key);
    if (record.kind === 'active') return this.#usage.of(record);
    return { bytes: record.usageBytes, inodes: record.usageInodes };
  }

  async prepare(options: PrepareOptions): Promise<Mount[]> {
    const { kind, key, parent } = options;
    if (key === '') throw new StatusError(STATUS.invalidArgument, 'a snapshot needs a key');
    const labels = keptLabels(options.labels);
    const settings = settingsOf(labels);
    this.#checkFree(key);
    const base = this.#base(parent);
    this.#checkTarget(options, labels);
    this.#claimed.add(key);
    this.#claimedParents.push(parent);
    const id = this.#records.nextId();
    this.#orphans.claim(id);
    try {
      if (parent === '') await ensureEmptyTemplate(this.#context);
      const name = containerdName(id);
      const time = now();
      const record: ContainerdFile = { id, kind, key, parent, created: time, updated: time, labels, usageBytes: 0, usageInodes: 0 };
      try {
        const root = await makeRoot(this.#context, { name, template: base === undefined ? EMPTY_TEMPLATE : containerdName(base.id), readOnly: kind === 'view', settings });
        this.#records.put(record);
        return mounts(record, root);
      } catch (error) {
        await this.#orphans.removeOf(id).catch(() => undefined);
        throw error;
      }
    } finally {
      this.#orphans.release(id);
      this.#claimed.delete(key);
      this.#claimedParents.splice(this.#claimedParents.indexOf(parent), 1);
    }
  }

  async mounts(key: string): Promise<Mount[]> {
    const { id } = this.#changeable(key);
    return this.#turns.take(id, async () => {
      const record = this.#changeable(key);
      return mounts(record, await mountRoot(this.#context, containerdName(id), record.kind === 'view'));
    });
  }

  async commit({ name, key, labels }: CommitOptions): Promise<void> {
    if (name === '') throw new StatusError(STATUS.invalidArgument, 'a committed snapshot needs a name');
    const kept = keptLabels(labels);
    this.#checkFree(name);
    const { id } = this.#active(key);
    this.#claimed.add(name);
    this.#orphans.claim(id);
    try {
      await this.#turns.take(id, async () => {
        const before = this.#active(key);
        const container = containerdName(id);
        await unmountRoot(this.#context, container);
        const usage = await scannedUsage(this.#context, container);
        await commitContainer(this.#context, { from: container, template: container });
        const time = now();
        // From here on it is committed, and what is left of its container an orphan.
        this.#records.put({ ...before, kind: 'committed', key: name, labels: kept, created: time, updated: time, usageBytes: usage.bytes, usageInodes: usage.inodes }, before);
        this.#usage.forget(before);
      });
    } catch (error) {
      await this.#orphans.removeTemplateOf(id, this.#records.get(key)).catch(() => undefined);
      throw error;
    } finally {
      this.#orphans.release(id);
      this.#claimed.delete(name);
    }
    this.#orphans.tidy(id, 'committed');
  }

  async remove(key: string): Promise<void> {
    const record = this.stat(key);
    await this.#turns.take(record.id, async () => {
      const current = this.stat(key);
      if (this.#records.hasChildren(key) || this.#claimedParents.includes(key)) {
        throw new StatusError(STATUS.failedPrecondition, `cannot remove snapshot ${key}: it has children`);
      }
      this.#records.remove(current);
      this.#usage.forget(current);
    });
    this.#orphans.tidy(record.id, 'removed');
  }

  /** Ends when nothing goes on in the background any more. */
  async settle(): Promise<void> {
    await this.#orphans.settle();
  }

  /** Removes what is orphaned, and begins to give its space back. */
  async cleanUp(): Promise<void> {
    await this.#orphans.remove(this.#records.all());
    this.#orphans.collectGarbage();
  }

  #checkFree(key: string): void {
    if (this.#records.get(key) !== undefined || this.#claimed.has(key)) throw new StatusError(STATUS.alreadyExists, `snapshot ${key} exists already`);
  }

  /** The parent's record; undefined for none. */
  #base(parent: string): ContainerdFile | undefined {
    if (parent === '') return undefined;
    const base = this.#records.get(parent);
    if (base === undefined) throw new StatusError(STATUS.notFound, `the parent snapshot ${parent} does not exist`);
    if (base.kind !== 'committed') throw new StatusError(STATUS.invalidArgument, `the parent snapshot ${parent} is not committed`);
    return base;
  }

  /** What is unpacked already needs neither a download nor an unpack: containerd looks for it when it hears that it exists. */
  #checkTarget({ kind, parent }: PrepareOptions, labels: ReadonlyMap<string, string>): void {
    const target = labels.get(TARGET_LABEL);
    if (kind !== 'active' || target === undefined) return;
    for (const record of this.#records.all()) {
      if (record.kind === 'committed' && record.parent === parent && record.labels.get(TARGET_LABEL) === target) {
        throw new StatusError(STATUS.alreadyExists, `the content of ${target} is here already, as ${record.key}`);
      }
    }
  }

  #changeable(key: string): ContainerdFile {
    const record = this.stat(key);
    if (record.kind === 'committed') throw new StatusError(STATUS.failedPrecondition, `snapshot ${key} is committed: it has no mounts`);
    return record;
  }

  #active(key: string): ContainerdFile {
    const record = this.stat(key);
    if (record.kind !== 'active') throw new StatusError(STATUS.failedPrecondition, `snapshot ${key} is not active`);
    return record;
  }
}

/** How containerd is to mount a snapshot. */
function mounts({ kind }: ContainerdFile, root: string): Mount[] {
  return [{ type: 'bind', source: root, target: '', options: [kind === 'view' ? 'ro' : 'rw', 'rbind'] }];
}
