import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { S_IFDIR, S_IFREG, isFolder } from '../../../src/store/inode-types.js';
import { LayeredHierarchy } from '../../../src/store/layered-hierarchy.js';
import type { TarMember } from '../../../src/store/tar-member.js';
import { PROPERTY_TIMEOUT_MS, runs } from './property.js';

/*
 * Whiteouts against a model that does what image-spec says word by word: first everything that a layer hides goes from the
 * layers below, then its own members are placed.
 */

/** A folder, or a file with a number that tells it from all others. */
type State = Map<string, 'folder' | number>;

interface Layer {
  /** Folders before what is in them. */
  readonly members: readonly (readonly [path: string, what: 'folder' | number])[];
  readonly hidden: readonly string[];
  readonly opaque: readonly string[];
  /** Where among the members each mark stands. */
  readonly places: readonly number[];
}

const NAMES = ['a', 'b', 'c'];
const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 4 });
let serial = 0;
const layer: fc.Arbitrary<Layer> = fc
  .record({
    wanted: fc.array(fc.tuple(path, fc.boolean()), { maxLength: 8 }),
    hidden: fc.array(path.map((names) => names.join('/')), { maxLength: 4 }),
    opaque: fc.array(fc.oneof(path.map((names) => names.join('/')), fc.constant('')), { maxLength: 2 }),
    places: fc.array(fc.nat(20), { minLength: 6, maxLength: 6 }),
  })
  .map(({ wanted, ...marks }) => {
    const members = new Map<string, 'folder' | number>();
    for (const [names, isFile] of wanted) {
      const whole = names.join('/');
      const parents = names.slice(0, -1).map((_, at) => names.slice(0, at + 1).join('/'));
      if (members.has(whole) || parents.some((parent) => typeof members.get(parent) === 'number')) continue;
      for (const parent of parents) if (!members.has(parent)) members.set(parent, 'folder');
      members.set(whole, isFile ? ++serial : 'folder');
    }
    return { members: [...members], ...marks };
  });

function removeBelow(state: State, folder: string): void {
  for (const name of [...state.keys()]) if (name.startsWith(folder === '' ? '' : `${folder}/`)) state.delete(name);
}

function model(layers: readonly Layer[]): State {
  const state: State = new Map();
  for (const { members, hidden, opaque } of layers) {
    for (const name of hidden) {
      state.delete(name);
      removeBelow(state, name);
    }
    for (const folder of opaque) removeBelow(state, folder);
    for (const [name, what] of members) {
      if (what === 'folder' && state.get(name) === 'folder') continue;
      removeBelow(state, name);
      state.set(name, what);
    }
  }
  return state;
}

function tarMember(name: string, what: 'folder' | number): TarMember {
  return {
    path: name, offset: 0, kind: 'node', mode: what === 'folder' ? S_IFDIR | 0o755 : S_IFREG | 0o644, uid: what === 'folder' ? 0 : what, gid: 0,
    mtimeSeconds: 0, mtimeNanoseconds: 0, major: 0, minor: 0, target: '', size: 0, segments: undefined, xattrs: [],
  };
}

function apply(layers: readonly Layer[]): State {
  const image = new LayeredHierarchy();
  for (const { members, hidden, opaque, places } of layers) {
    const all = members.map(([name, what]) => tarMember(name, what));
    const marks = [...hidden.map((name) => name.replace(/([^/]*)$/, '.wh.$1')), ...opaque.map((folder) => `${folder}/.wh..wh..opq`)];
    for (const [at, mark] of marks.entries()) all.splice((places[at] ?? 0) % (all.length + 1), 0, tarMember(mark, 0));
    image.beginLayer();
    for (const one of all) if (!image.takeMark(one)) image.place(one);
  }
  const state: State = new Map();
  const { hierarchy } = image;
  const walk = (node: number, prefix: string): void => {
    for (const [name, child] of hierarchy.children(node)) {
      const folder = isFolder(hierarchy.mode(child));
      state.set(prefix + name, folder ? 'folder' : hierarchy.metadata(child).uid);
      if (folder) walk(child, `${prefix}${name}/`);
    }
  };
  walk(hierarchy.root, '');
  return state;
}

describe('layers of images', () => {
  test('hide and place as the specification says', { timeout: PROPERTY_TIMEOUT_MS }, () => {
    let hides = 0;
    fc.assert(
      fc.property(fc.array(layer, { minLength: 1, maxLength: 4 }), (layers) => {
        const wanted = model(layers);
        if (wanted.size < model(layers.map((one) => ({ ...one, hidden: [], opaque: [] }))).size) hides += 1;
        expect([...apply(layers)].sort()).toEqual([...wanted].sort());
      }),
      runs(1500),
    );
    // Else the generator would have nothing to say about whiteouts.
    expect(hides).toBeGreaterThan(20);
  });
});
