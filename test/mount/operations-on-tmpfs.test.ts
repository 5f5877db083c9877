// The tests of operations.test.ts, with the store on tmpfs.
process.env['TEMPLATEFS_TEST_VOLUME'] = 'tmpfs';
await import('./operations.test.js');

export {};
