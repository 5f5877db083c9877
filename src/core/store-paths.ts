import { join } from 'node:path';

export const DEFAULT_STORE = '/var/lib/templatefs';

/** Names every place inside one store; the layout is described in docs/architecture.md. */
export class StorePaths {
  readonly store: string;

  constructor(store: string) {
    this.store = store;
  }

  /** Settings of the whole store, if there are any: docs/formats/store-config.md. */
  get config(): string {
    return join(this.store, 'config');
  }
  get catalog(): string {
    return join(this.store, 'catalog.sqlite');
  }
  get objects(): string {
    return join(this.store, 'objects');
  }
  /** Half-made objects and trees; on the same file system as both, so that finishing is a rename. */
  get staging(): string {
    return join(this.store, 'staging');
  }
  get trees(): string {
    return join(this.store, 'trees');
  }
  tree(digest: string): string {
    return join(this.trees, digest);
  }
  /** SHA-256 of the contents of each tree: docs/formats/content-sums.md. */
  get sums(): string {
    return join(this.store, 'sums');
  }
  sumsOf(digest: string): string {
    return join(this.store, 'sums', digest);
  }
  /** Objects that were found broken or missing, until they are mended: docs/formats/broken.md. */
  get broken(): string {
    return join(this.store, 'broken');
  }
  /** Packages and metadata of repositories, shared by all containers: docs/installer.md. */
  get cache(): string {
    return join(this.store, 'cache');
  }
  /** What merging has found out about each container: docs/formats/link-cache.md. */
  get linkCaches(): string {
    return join(this.store, 'cache', 'link');
  }
  linkCache(container: string): string {
    return join(this.store, 'cache', 'link', container);
  }
  /** No container is called so. */
  get linkSummary(): string {
    return join(this.store, 'cache', 'link', '.all');
  }
  /** What says that merging has nothing to do. */
  get linkSettled(): string {
    return join(this.store, 'cache', 'link', '.settled');
  }
  /** What was counted in each private area: docs/formats/area-sums.md. */
  get areaSums(): string {
    return join(this.store, 'cache', 'area-sums');
  }
  get areaObjects(): string {
    return join(this.store, 'cache', 'area-objects');
  }
  get templates(): string {
    return join(this.store, 'templates');
  }
  /** The record of one template, from which the catalog can be rebuilt. */
  templateRecord(template: string): string {
    return join(this.store, 'templates', template);
  }
  /** One record for each snapshot that containerd lists: docs/snapshotter.md. */
  get containerdRecords(): string {
    return join(this.store, 'containerd');
  }
  containerdRecord(id: number): string {
    return join(this.store, 'containerd', String(id));
  }
  get locks(): string {
    return join(this.store, 'run', '.locks');
  }
  /** By the name of a container, or `CT@ID` for one of its snapshots. */
  privateArea(area: string): string {
    const [container = '', id] = area.split('@');
    return id === undefined ? join(this.store, 'private', container) : join(this.snapshots(container), id);
  }
  /** Copies of the private areas of containers: docs/snapshots.md. */
  get allSnapshots(): string {
    return join(this.store, 'private', '.snapshots');
  }
  snapshots(container: string): string {
    return join(this.store, 'private', '.snapshots', container);
  }
  get privateAreas(): string {
    return join(this.store, 'private');
  }
  get roots(): string {
    return join(this.store, 'root');
  }
  root(container: string): string {
    return join(this.store, 'root', container);
  }
  get runs(): string {
    return join(this.store, 'run');
  }
  run(container: string): string {
    return join(this.store, 'run', container);
  }
  /** The settings of one container, from which the catalog can be rebuilt; of a snapshot `CT@ID` those of that time. */
  containerFile(area: string): string {
    return join(this.privateArea(area), 'container');
  }
  /** What the engine of a running container says about itself. */
  engineState(container: string): string {
    return join(this.store, 'run', container, 'engine');
  }
  controlSocket(container: string): string {
    return join(this.store, 'run', container, 'control');
  }
  /** What asks a running engine to hand its root over, and its answer: docs/protocols/handover.md. */
  upgradeRequest(container: string): string {
    return join(this.store, 'run', container, 'upgrade');
  }
  upgradeAnswer(container: string): string {
    return join(this.store, 'run', container, 'upgraded');
  }
  /** There while a container is mounted only for the time of an `exec`. */
  temporaryMount(container: string): string {
    return join(this.store, 'run', container, 'temporary');
  }
}
