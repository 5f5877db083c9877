import type { StorePaths } from '../../../src/core/store-paths.js';
import { addTemplate } from '../../../src/service/add-template.js';
import type { ServiceContext } from '../../../src/service/context.js';
import { Hierarchy } from '../../../src/store/hierarchy.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { temporaryStore } from '../catalog/temporary-store.js';
import { scriptEngine } from '../engine/script-engine.js';

const META = { uid: 0, gid: 0, mtimeSeconds: 1000, mtimeNanoseconds: 0 };

/** Numbers of the nodes of {@link exampleTree}: breadth-first, entries in order. */
export const NODES = { root: 0, etc: 1, srv: 2, usr: 3, hosts: 4, passwd: 5, data: 6, bin: 7, gcc: 8, perl: 9 } as const;

/**
 * /etc/hosts (10 bytes), /etc/passwd (20), /srv/data (100), /usr/bin/perl = /usr/bin/perl5 (40, hard links),
 * /usr/bin/gcc → perl.
 */
export function exampleTree(): Hierarchy {
  const tree = new Hierarchy({ ...META, mode: 0o040755 });
  const add = (folder: number, name: string, mode: number): number => {
    const node = tree.addNode({ ...META, mode });
    tree.setChild(folder, name, node);
    return node;
  };
  const file = (folder: number, name: string, size: number): number => {
    const node = add(folder, name, 0o100644);
    const object = tree.objects.push({ hash: size.toString(16).padStart(32, '0'), variant: 0, size }) - 1;
    tree.setContent(node, object, size, 8);
    return node;
  };
  const etc = add(tree.root, 'etc', 0o040755);
  const srv = add(tree.root, 'srv', 0o040755);
  const usr = add(tree.root, 'usr', 0o040755);
  file(etc, 'hosts', 10);
  file(etc, 'passwd', 20);
  file(srv, 'data', 100);
  const bin = add(usr, 'bin', 0o040755);
  const perl = file(bin, 'perl', 40);
  tree.setChild(bin, 'perl5', perl);
  const gcc = add(bin, 'gcc', 0o120777);
  tree.setTarget(gcc, 'perl');
  return tree;
}

export const EXAMPLE_BYTES = 170;

/** A store with the template `t` of {@link exampleTree}, and an engine that knows of no private changes. */
export async function storeWithTemplate(): Promise<{ paths: StorePaths; context: ServiceContext; notices: string[] }> {
  const paths = temporaryStore();
  const notices: string[] = [];
  const context: ServiceContext = { paths, waitMs: 0, onNotice: (text) => notices.push(text) };
  await addExample(context, 't');
  scriptEngine('if [ "$1" = area ]; then printf "used_bytes 0\\nused_inodes 1\\nenforced_by engine\\n"; fi; exit 0');
  return { paths, context, notices };
}

/** Adds a template of {@link exampleTree}. */
export function addExample(context: ServiceContext, name: string, refresh = false): ReturnType<typeof addTemplate> {
  return addTemplate(context, {
    name,
    refresh,
    source: 'stdin',
    definition: null,
    importTree: async () => ({
      tree: writeTree(context.paths, exampleTree()).digest,
      files: 4,
      bytes: EXAMPLE_BYTES,
      newObjects: 4,
      newBytes: EXAMPLE_BYTES,
      sharedObjects: 0,
    }),
  });
}
