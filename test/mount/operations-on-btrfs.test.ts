// The tests of operations.test.ts, with the store on btrfs.
process.env['TEMPLATEFS_TEST_VOLUME'] = 'btrfs';
await import('./operations.test.js');

export {};
