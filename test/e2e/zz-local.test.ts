import { beforeAll, describe } from 'vitest';
import { useScratch } from '../support/scratch.js';
import { installerCases } from './installer-cases.js';
const scratch = useScratch();
const store = scratch.makeStore();
describe('local', () => {
  beforeAll(async () => { await store.ok('template', 'import', 'debian-12-x86_64', '/tmp/w/installer/s/store/root/base'); }, 200_000);
  installerCases(scratch, store, 'debian-12-x86_64');
});
