import { defineConfig } from 'vitest/config';

// `npm run test:programs`: what is in test/programs only, with the longer ones, and all of each (test/support/program-root.ts).
const include = process.env['TEMPLATEFS_TEST_PROGRAMS'] === 'all' ? ['test/programs/**/*.{test,long}.ts'] : ['test/**/*.test.ts'];

// Two cores: test files that mount or bootstrap would only slow one another down, so at most two run at once.
export default defineConfig({
  test: {
    include,
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 180_000,
    reporters: ['default'],
  },
});
