import { describe, expect, test } from 'vitest';
import type { ContainerdFile } from '../../../src/catalog/containerd-file.js';
import { parseFilters } from '../../../src/snapshotter/filters.js';
import { STATUS, StatusError } from '../../../src/snapshotter/status.js';

const TIME = { seconds: 1, nanoseconds: 0 };

function record(key: string, more: Partial<ContainerdFile> = {}): ContainerdFile {
  return { id: 1, kind: 'active', key, parent: '', created: TIME, updated: TIME, labels: new Map(), usageBytes: 0, usageInodes: 0, ...more };
}

const LAYER = record('default/3/sha256:77', {
  kind: 'committed', parent: 'default/1/sha256:11', labels: new Map([['containerd.io/snapshot.ref', 'sha256:77'], ['a', 'x,y z'], ['n.o', '1']]),
});
const WORK = record('k1', { kind: 'active' });
const LOOK = record('k2', { kind: 'view', parent: 'default/3/sha256:77' });

function matching(...filters: string[]): string[] {
  return [LAYER, WORK, LOOK].filter(parseFilters(filters)).map(({ key }) => key);
}

describe('what filters match', () => {
  test.each([
    [[], ['default/3/sha256:77', 'k1', 'k2']],
    [[''], ['default/3/sha256:77', 'k1', 'k2']],
    // As containerd asks for the content of a layer.
    [['labels."containerd.io/snapshot.ref"==sha256:77,parent=="default/1/sha256:11"'], ['default/3/sha256:77']],
    [['labels."containerd.io/snapshot.ref"==sha256:77,parent==""'], []],
    [['name==k1'], ['k1']],
    [['name==k1', 'kind==view'], ['k1', 'k2']],
    [['name!=k1'], ['default/3/sha256:77', 'k2']],
    [['kind==committed'], ['default/3/sha256:77']],
    [['parent==""'], ['k1']],
    [['parent==default/3/sha256:77'], ['k2']],
    [['name~=^k'], ['k1', 'k2']],
    [['name~="^k[2-9]$"'], ['k2']],
    [['name~=/\\/sha256:/'], ['default/3/sha256:77']],
    [['name~=|[0-9]/sha|'], ['default/3/sha256:77']],
    [['labels.a'], ['default/3/sha256:77']],
    [['labels.a=="x,y z"'], ['default/3/sha256:77']],
    [['labels.a=="x\\x2cy\\u0020z"'], ['default/3/sha256:77']],
    [['labels.n.o==1'], ['default/3/sha256:77']],
    [['labels.a!=1'], ['default/3/sha256:77', 'k1', 'k2']],
    [['labels.b~="."'], []],
    [['colour'], []],
    [[' kind == view , name == k2 '], ['k2']],
  ])('%j: %j', (filters, keys) => {
    expect(matching(...filters)).toEqual(keys);
  });

  test.each([',', 'name==', 'name=k1', 'name===k1', 'name==k1,', 'name==k1 k2', '==k1', 'name=="k1', 'name=="\\q"', 'name~=(', 'labels.', 'name==k1 ==', '*'])(
    '%j is no filter',
    (filter) => {
      const error = (() => {
        try {
          parseFilters(['name==k1', filter]);
        } catch (thrown) {
          return thrown;
        }
        return undefined;
      })();
      expect(error).toBeInstanceOf(StatusError);
      expect((error as StatusError).code).toBe(STATUS.invalidArgument);
      expect((error as StatusError).message).toContain(JSON.stringify(filter));
    },
  );
});
