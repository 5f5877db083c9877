import { describe, expect, test } from 'vitest';
import { parseContents } from '../../../src/packages/package-contents.js';

/** What a container prints about the contents of packages is hostile: whatever is no line of it is left out. */
describe('what a container says that packages contain', () => {
  test('what comes and what goes, with folders, configuration and scripts', () => {
    const [coming, going, ...more] = parseContents('coming tool 2\nd /etc/\np /etc/tool.conf\nc /etc/tool.conf\np /usr/bin/a b\ngoing old-tool 0\np /.\np /usr\np /usr/bin/old\n');
    expect(more).toEqual([]);
    expect(coming).toEqual({ name: 'tool', isComing: true, hasScripts: true, paths: ['/etc/', '/etc/tool.conf', '/usr/bin/a b'], configuration: new Set(['/etc/tool.conf']) });
    expect(going).toEqual({ name: 'old-tool', isComing: false, hasScripts: false, paths: ['/usr', '/usr/bin/old'], configuration: new Set() });
  });

  test.each([
    ['a path before any package', 'p /etc/passwd\n'],
    ['a path that leads out', 'coming tool 0\np /usr/../../etc/passwd\n'],
    ['a path that is none', 'coming tool 0\np etc/passwd\nq /etc/passwd\n/etc/passwd\n'],
    ['a name that is none', 'coming ../tool 0\np /etc/passwd\ncoming \u001b[2J 0\np /etc/passwd\n'],
  ])('%s', (_, output) => {
    expect(parseContents(output).flatMap(({ paths }) => paths)).toEqual([]);
  });
});
