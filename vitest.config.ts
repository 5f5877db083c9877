import { defineConfig } from 'vitest/config';

// Two cores: test files that mount or bootstrap would only slow one another down, so at most two run at once.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 180_000,
    reporters: ['default'],
  },
});
