import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { severalAtOnce } from '../../src/core/several-at-once.js';
import { StorePaths } from '../../src/core/store-paths.js';
import { mountEngine } from '../../src/engine/mount-engine.js';
import { collectGarbage } from '../../src/service/collect-garbage.js';
import { createContainer } from '../../src/service/create-container.js';
import { destroyContainer } from '../../src/service/destroy-container.js';
import { sampleAfter } from '../../src/service/statistics-samples.js';
import { importTemplate } from '../../src/service/import-template.js';
import { umountContainer } from '../../src/service/umount-container.js';
import { FINDERS } from '../peers/duplicate-finders.js';
import { CleanUp } from '../runner/clean-up.js';
import { makeLoopVolume } from '../runner/loop-volume.js';
import { removeTree } from '../runner/remove-tree.js';
import { runProgram } from '../runner/run-program.js';
import { downloadPackages, installScript, sandbox } from './apt-install.js';
import type { RunContext } from './scenario.js';

const PACKAGES = { quick: 'php-cli', full: 'g++' };
const CONTAINERS = { quick: 3, full: 10 };
const VOLUME_BYTES = { quick: 3 * 1024 ** 3, full: 12 * 1024 ** 3 };
const TEMPLATE = 'debian';
const UPGRADES_AT_ONCE = 2;

/**
 * Containers after each has upgraded itself, on a volume of their own: XFS, because what it is compared with can let files share blocks
 * only there. What the upgrade wrote is kept as folders, so that each run begins with the same files: in private areas for templatefs,
 * in folders for the others.
 */
export class MergeFleet {
  readonly #cleanUp = new CleanUp();
  readonly #volume: string;
  readonly #context: RunContext;
  readonly paths: StorePaths;
  readonly names: readonly string[];

  private constructor(context: RunContext, volume: string, names: readonly string[]) {
    this.#context = context;
    this.#volume = volume;
    this.paths = new StorePaths(join(volume, 'store'));
    this.names = names;
  }

  /** @param count of containers; what the scenarios of merging say if left out */
  static async make(context: RunContext, count = CONTAINERS[context.quick ? 'quick' : 'full']): Promise<MergeFleet> {
    const { input, quick, signal } = context;
    const folder = join(input.places.scratch, 'merging');
    await mkdir(folder);
    const cleanUp = new CleanUp();
    const volume = await makeLoopVolume(folder, VOLUME_BYTES[quick ? 'quick' : 'full'], cleanUp, signal, 'xfs');
    const fleet = new MergeFleet(context, volume.path, Array.from({ length: count }, (_, number) => `c${number}`));
    fleet.#cleanUp.add('remove the volume', async () => {
      const problems = await cleanUp.run();
      if (problems.length > 0) throw new Error(problems.join('; '));
      await removeTree(folder);
    });
    try {
      await fleet.#upgrade();
    } catch (error) {
      await fleet.end();
      throw error;
    }
    return fleet;
  }

  async end(): Promise<void> {
    await this.#forgetContainers();
    const problems = await this.#cleanUp.run();
    if (problems.length > 0) throw new Error(problems.join('; '));
  }

  root(name: string): string {
    return join(this.paths.store, 'root', name);
  }

  /** Each container upgrades itself; what it wrote is copied away. */
  async #upgrade(): Promise<void> {
    const { input, quick, signal } = this.#context;
    const packages = await downloadPackages(this.#context, PACKAGES[quick ? 'quick' : 'full']);
    input.places.say(`Installing ${PACKAGES[quick ? 'quick' : 'full']} in ${this.names.length} containers`);
    await importTemplate({ paths: this.paths, signal }, { name: TEMPLATE, source: input.tar ?? (await input.unpacked()) });
    // Each installs for itself, and two at a time: what is measured comes later.
    await severalAtOnce(this.names, UPGRADES_AT_ONCE, async (name) => {
      await this.#makeContainer(name);
      await runProgram('bwrap', [...sandbox(this.root(name), packages), '--', 'sh', '-ec', installScript], { signal, env: { LC_ALL: 'C' } });
      await this.#unmount(name);
      const changes = this.#changesOf(name);
      await mkdir(changes, { recursive: true });
      // Files with content of their own: links have no blocks.
      const script = 'cd "$1" && find . -type f -size +0 -printf "%b %P\\0" | sed -z -n "/^0 /d; s/^[0-9]* //p" | xargs -0 cp --parents --preserve=mode,ownership,timestamps -t "$2"';
      await runProgram('sh', ['-ec', script, 'sh', join(this.paths.privateArea(name), 'root'), changes], { signal });
    });
    await this.#forgetContainers();
  }

  async #makeContainer(name: string): Promise<void> {
    const { signal } = this.#context;
    await createContainer({ paths: this.paths, signal }, { name, template: TEMPLATE });
    await mkdir(this.root(name), { recursive: true });
    await mountEngine({ paths: this.paths, container: name, mountpoint: this.root(name), signal });
  }

  async #unmount(name: string): Promise<void> {
    await umountContainer({ paths: this.paths }, { name });
  }

  async #forgetContainers(): Promise<void> {
    for (const name of this.names) await destroyContainer({ paths: this.paths }, { name, force: true }).catch(() => undefined);
  }

  /** The same files anew, none of which shares anything, on the disk and in the page cache. */
  async prepare(): Promise<void> {
    const { peer, signal } = this.#context;
    await removeTree(this.#folders);
    await this.#forgetContainers();
    // As `templatefs gc` does.
    await collectGarbage({ paths: this.paths, signal }, { dryRun: false });
    await sampleAfter({ paths: this.paths, signal }, 'gc');
    await removeTree(this.paths.linkCaches);
    if (peer.name === 'templatefs') for (const name of this.names) await this.#makeContainer(name);
    for (const name of this.names) {
      const target = peer.name === 'templatefs' ? this.root(name) : join(this.#folders, name);
      await mkdir(target, { recursive: true });
      await runProgram('cp', ['-dpR', '--reflink=never', `${this.#changesOf(name)}/.`, target], { signal });
    }
    await this.sync();
  }

  #changesOf(name: string): string {
    return join(this.#volume, 'changes', name);
  }

  get #folders(): string {
    return join(this.#volume, 'folders');
  }

  async sync(): Promise<void> {
    await runProgram('sync', ['--file-system', this.#volume]);
  }

  async usedBytes(): Promise<number> {
    await this.sync();
    const { blocks, bfree, bsize } = await statfs(this.#volume);
    return (blocks - bfree) * bsize;
  }

  /** What finds equal files of all of them, and merges them; commands that run one after the other. */
  commands(what: 'merge' | 'search'): readonly (readonly string[])[] {
    const { peer, checkout, input } = this.#context;
    if (peer.name === 'templatefs') {
      const link = [join(checkout, 'bin/templatefs'), '--store', this.paths.store, '--quiet', 'link', '--all'];
      return [what === 'merge' ? link : [...link, '--dry-run']];
    }
    const finder = FINDERS.find(({ name }) => name === peer.name);
    if (finder === undefined) throw new Error(`${peer.name} does not merge`);
    return finder[what](this.#folders, join(input.places.scratch, `${peer.name}.state`));
  }

  /** Nothing of an earlier run is known. */
  async forget(): Promise<void> {
    const { peer, input } = this.#context;
    await rm(join(input.places.scratch, `${peer.name}.state`), { force: true });
  }

  /** For another slot. */
  for(context: RunContext): MergeFleet {
    return new MergeFleet(context, this.#volume, this.names);
  }
}
