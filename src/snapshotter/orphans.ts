import type { ContainerdFile } from '../catalog/containerd-file.js';
import { containerdId, containerdName } from '../core/containerd-names.js';
import { TemplatefsError } from '../core/errors.js';
import { collectGarbage } from '../service/collect-garbage.js';
import { openForReading, type ServiceContext } from '../service/context.js';
import { destroyContainer } from '../service/destroy-container.js';
import { removeTemplate } from '../service/remove-template.js';

/** What the catalog holds of snapshots. */
interface Present {
  readonly containers: readonly number[];
  readonly templates: readonly number[];
}

const RETRY_MS = 60_000;

/**
 * Containers and templates of snapshots that no record speaks for: what a killed snapshotter was making, what it was removing, and what could
 * not be removed yet because somebody uses it.
 */
export class Orphans {
  readonly #context: ServiceContext;
  readonly #collects: boolean;
  /** Ids of what is being made or committed. */
  readonly #claimed = new Set<number>();
  #isGarbageLeft = false;
  #collecting: Promise<void> | undefined;
  /** What is removed in the background, one after the other: containerd holds its database while it waits for an answer. */
  #tidying = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;

  /** @param collects whether space of what was removed is given back here */
  constructor(context: ServiceContext, collects: boolean) {
    this.#context = context;
    this.#collects = collects;
  }

  usedIds(): number[] {
    const { containers, templates } = this.#present();
    return [...containers, ...templates];
  }

  claim(id: number): void {
    this.#claimed.add(id);
  }

  release(id: number): void {
    this.#claimed.delete(id);
  }

  /** Removes all that these records do not speak for. What cannot be removed now is said, and left for the next time. */
  async remove(records: Iterable<ContainerdFile>): Promise<void> {
    await this.#tidying;
    const kinds = new Map([...records].map(({ id, kind }) => [id, kind]));
    const { containers, templates } = this.#present();
    // Containers first: they stand on the templates.
    for (const id of containers) {
      const kind = kinds.get(id);
      if ((kind === undefined || kind === 'committed') && !this.#claimed.has(id)) await this.#attempt(() => this.#removeContainer(id));
    }
    for (const id of templates) {
      if (kinds.get(id) !== 'committed' && !this.#claimed.has(id)) await this.#attempt(() => this.#removeTemplate(id));
    }
  }

  /** After a snapshot was committed or removed: removes, in the background, what its record does not speak for any more. */
  tidy(id: number, now: 'committed' | 'removed'): void {
    this.#tidying = this.#tidying.then(async () => {
      await this.#attempt(() => this.#removeContainer(id));
      if (now === 'removed') await this.#attempt(() => this.#removeTemplate(id));
    });
  }

  /** Undoes a prepare that failed. */
  async removeOf(id: number): Promise<void> {
    await this.#removeContainer(id);
  }

  /** Undoes a commit that failed. */
  async removeTemplateOf(id: number, record: ContainerdFile | undefined): Promise<void> {
    if (record?.kind === 'active') await this.#removeTemplate(id);
  }

  /** Starts giving back the space of templates that were removed, in the background. */
  collectGarbage(): void {
    if (!this.#collects || !this.#isGarbageLeft || this.#collecting !== undefined) return;
    this.#isGarbageLeft = false;
    this.#collecting = this.#collect().finally(() => (this.#collecting = undefined));
  }

  /** Ends when nothing goes on in the background any more. */
  async settle(): Promise<void> {
    await this.#tidying;
    await this.#collecting;
    clearTimeout(this.#retry);
  }

  async #collect(): Promise<void> {
    try {
      const { objects, trees, kept } = await collectGarbage(this.#context, { dryRun: false });
      this.#context.onLog?.(`collected garbage: ${objects} objects, ${trees} trees`);
      for (const { name, reason } of kept) this.#context.onNotice?.(`garbage is kept because of ${name}: ${reason}`);
    } catch (error) {
      this.#isGarbageLeft = true;
      if (!(error instanceof TemplatefsError && error.code === 'BUSY')) this.#context.onNotice?.(`garbage was not collected: ${messageOf(error)}`);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => { this.collectGarbage(); }, RETRY_MS);
      this.#retry.unref();
    }
  }

  #present(): Present {
    using opened = openForReading(this.#context);
    const ids = (names: readonly { name: string }[]): number[] => names.flatMap(({ name }) => containerdId(name) ?? []);
    return { containers: ids(opened.catalog.containers()), templates: ids(opened.catalog.templates()) };
  }

  async #removeContainer(id: number): Promise<void> {
    await unlessGone('CONTAINER_NOT_FOUND', () => destroyContainer(this.#context, { name: containerdName(id), force: true }));
  }

  async #removeTemplate(id: number): Promise<void> {
    const removed = await unlessGone('TEMPLATE_NOT_FOUND', () => removeTemplate(this.#context, { name: containerdName(id) }));
    if (removed) this.#isGarbageLeft = true;
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#context.onNotice?.(`left for later: ${messageOf(error)}`);
    }
  }
}

async function unlessGone(code: 'CONTAINER_NOT_FOUND' | 'TEMPLATE_NOT_FOUND', work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof TemplatefsError && error.code === code) return false;
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
