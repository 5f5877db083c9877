// The tests of operations.test.ts, with the store on xfs.
process.env['TEMPLATEFS_TEST_VOLUME'] = 'xfs';
await import('./operations.test.js');

export {};
