import { appendFileSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT } from '../support/project.js';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { compareTrees } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();

/** The engine's own sources, without optimization; each object is written under another name and renamed. */
const MAKEFILE = `
SOURCES := $(sort $(shell find native -name '*.cc' ! -name '*_test.cc' ! -path '*/testing/*' ! -path '*/fuzz/*'))
OBJECTS := $(SOURCES:%.cc=build/%.o)
FLAGS = -std=c++20 -O0 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DTEMPLATEFS_VERSION='"0"' -Inative -MMD -MP -MF $(@:.o=.d) -MT $@ -fno-exceptions -fno-rtti
build/engine: $(OBJECTS)
	g++ -o $@.tmp $^ && mv $@.tmp $@
build/%.o: %.cc
	@mkdir -p $(dir $@)
	$(WITH) g++ $(FLAGS) -c -o $@.tmp.o $< && mv $@.tmp.o $@
clean:
	rm -rf build
-include $(OBJECTS:.o=.d)
`;

async function make(folder: string, ...args: string[]): Promise<string> {
  const env = { CCACHE_DIR: join(folder, 'cache'), CCACHE_NOHASHDIR: '1', CCACHE_BASEDIR: folder, LC_ALL: 'C' };
  return runChecked('make', ['-j2', ...args], { cwd: folder, env, timeoutMs: 10 * MINUTE });
}

async function sum(folder: string): Promise<string> {
  return runChecked('sh', ['-c', 'find build -name "*.o" -o -name engine | sort | xargs sha256sum'], { cwd: folder });
}

function makeSources(folder: string): void {
  mkdirSync(folder, { recursive: true });
  cpSync(`${PROJECT}native`, join(folder, 'native'), { recursive: true });
  writeFileSync(join(folder, 'Makefile'), MAKEFILE);
}

test.each(VARIANTS)('a C++ build, again after changes, and with ccache, $name', { timeout: 30 * MINUTE }, async (variant) => {
  // The template holds a finished build and a filled cache.
  const root = await ProgramRoot.mount(scratch, async (folder) => {
    makeSources(folder);
    await make(folder, 'WITH=ccache');
  });
  const place = root.path(variant.place);
  const wanted = await sum(root.source);
  await root.inVariant(variant, async () => {
    expect(await sum(place)).toBe(wanted);
    expect(await make(place)).toMatch(/up to date/);
    // What depends on one header is built again, over the objects of the template.
    appendFileSync(join(place, 'native/base/crc32.h'), '// changed\n');
    expect(await make(place)).toMatch(/g\+\+/);
    expect(await sum(place)).toBe(wanted);
    await make(place, 'clean');
    await make(place, 'WITH=ccache');
    expect(await sum(place)).toBe(wanted);
    await make(place, 'clean');
    await make(place, 'WITH=ccache');
    expect(await sum(place)).toBe(wanted);
    expect(await runChecked('ccache', ['--print-stats'], { env: { CCACHE_DIR: join(place, 'cache') } })).toMatch(/^(direct|preprocessed)_cache_hit\t[1-9]/m);
    await runChecked(join(place, 'build/engine'), ['--version']);
  });
  await root.expectTemplateUntouched();
  expect(await sum(place)).toBe(wanted);
  const { differences } = await compareTrees(join(root.source, 'native'), join(place, 'native'), '--any-mtime', '--without', 'base/crc32.h');
  expect(differences).toBe('');
});
