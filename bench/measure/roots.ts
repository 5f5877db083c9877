import { TemplatefsError } from '../../src/core/errors.js';
import { inputSource, type InputName, type InputOptions } from '../inputs/all.js';
import { Input, type Places } from '../inputs/input.js';
import type { PeerRoot } from '../peers/peer.js';
import type { DescribedPeer } from '../report/result.js';
import type { CleanUp } from '../runner/clean-up.js';
import type { Driver } from '../runner/driver.js';
import type { PeerSlot } from './slots.js';

/** Inputs whose roots are compared byte by byte before anything is timed. In the others there is nothing but plain files. */
const CHECKED: readonly InputName[] = ['debian'];

export interface RootsOptions {
  readonly places: Places;
  readonly inputs: InputOptions;
  readonly driver: Driver;
  readonly cleanUp: CleanUp;
}

interface Expected {
  readonly digest: string;
  readonly work: Readonly<Record<string, number>>;
}

/** Inputs and the root of each slot on each of them; made when first asked for, and unmounted at the end. */
export class Roots {
  readonly #options: RootsOptions;
  readonly #inputs = new Map<InputName, Input>();
  readonly #roots = new Map<string, PeerRoot>();
  readonly #expected = new Map<InputName, Expected>();
  readonly #described = new Map<string, DescribedPeer>();

  constructor(options: RootsOptions) {
    this.#options = options;
  }

  input(name: InputName): Input {
    const input = this.#inputs.get(name) ?? new Input(inputSource(name, this.#options.inputs), this.#options.places);
    this.#inputs.set(name, input);
    return input;
  }

  /** How each peer works that has had a root. */
  get described(): readonly DescribedPeer[] {
    return [...this.#described.values()];
  }

  /** What is in an input that was checked. */
  workOf(name: InputName): Readonly<Record<string, number>> {
    return this.#expected.get(name)?.work ?? {};
  }

  async rootOf(name: InputName, slot: PeerSlot): Promise<PeerRoot> {
    const key = `${name} ${slot.name}`;
    const known = this.#roots.get(key);
    if (known !== undefined) return known;
    const input = this.input(name);
    const root = await slot.of.makeRoot(input, slot.name);
    this.#options.cleanUp.add(`unmount ${slot.name} on ${name}`, () => root.unmount());
    this.#roots.set(key, root);
    await this.#look(name, slot, root);
    return root;
  }

  /** That all roots show the same is checked before anything is timed. */
  async #look(name: InputName, slot: PeerSlot, root: PeerRoot): Promise<void> {
    const isChecked = CHECKED.includes(name);
    if (!isChecked && this.#described.has(slot.peer)) return;
    const { driver, places: { signal, say } } = this.#options;
    if (isChecked && !this.#expected.has(name)) {
      say('Checking that all roots show the same');
      this.#expected.set(name, await driver.digest(await this.input(name).unpacked(), signal));
    }
    await root.mount();
    try {
      const expected = this.#expected.get(name);
      if (expected !== undefined) {
        const found = await driver.digest(root.path, signal);
        if (found.digest !== expected.digest) {
          throw new TemplatefsError('FAILED', `${slot.name} shows another root than what was unpacked: ${JSON.stringify(found.work)}, not ${JSON.stringify(expected.work)}`);
        }
      }
      if (!this.#described.has(slot.peer)) this.#described.set(slot.peer, { name: slot.peer, what: slot.of.what, ...(await root.mode()) });
    } finally {
      await root.unmount();
    }
  }
}
