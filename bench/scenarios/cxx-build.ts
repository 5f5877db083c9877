import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_PEERS, USED, type Scenario } from './scenario.js';

/** Parts of the engine that compile in some seconds. */
const PARTS = ['base', 'wire', 'tree'];

const MAKEFILE = `
SOURCES := $(sort $(shell find ${PARTS.map((part) => `native/${part}`).join(' ')} -name '*.cc' ! -name '*_test.cc'))
OBJECTS := $(SOURCES:%.cc=build/%.o)
FLAGS = -std=c++20 -O0 -D_GNU_SOURCE -DTEMPLATEFS_VERSION='"0"' -Inative -MMD -MP -fno-exceptions -fno-rtti
build/parts.a: $(OBJECTS)
	ar rcs $@ $^
build/%.o: %.cc
	@mkdir -p $(dir $@)
	g++ $(FLAGS) -c -o $@.tmp.o $< && mv $@.tmp.o $@
`;

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'build-of-parts');
}

export const cxxBuild: Scenario = {
  name: 'cxx-build',
  group: 'work',
  what: `make -j2 of native/{${PARTS.join(',')}} without optimization; sources and objects in the root, the compiler on the host`,
  meaning: 'building software in a container',
  durability: 'in memory only; on disk after some seconds',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_PEERS,
  changesRoot: true,
  setUp: async (root, { checkout }) => {
    await mkdir(placeOf(root));
    await cp(join(checkout, 'native'), join(placeOf(root), 'native'), { recursive: true });
    await writeFile(join(placeOf(root), 'Makefile'), MAKEFILE);
  },
  prepare: (root) => rm(join(placeOf(root), 'build'), { recursive: true, force: true }),
  run: (root, { driver, signal }) => driver.run(['run', 'make', '-s', '-j2', '-C', placeOf(root)], signal),
  tearDown: async (root) => {
    await runProgram('rm', ['-rf', placeOf(root)]);
  },
};
