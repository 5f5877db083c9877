import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import { temporaryFolder } from '../catalog/temporary-store.js';

export const VERSION_LINE = 'templatefs-engine 0.1.0 protocol 1 tree 1 private 1';

/** Puts a shell script in the engine's place, for this test. */
export function scriptEngine(body: string): void {
  const path = join(temporaryFolder(), 'engine');
  writeFileSync(path, `#!/bin/sh\nif [ "$1" = --version ]; then echo "${VERSION_LINE}"; exit 0; fi\n${body}\n`);
  chmodSync(path, 0o755);
  vi.stubEnv('TEMPLATEFS_ENGINE', path);
}
