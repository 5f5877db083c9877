// The tests of operations.test.ts, with the store on overlayfs, as in a container.
process.env['TEMPLATEFS_TEST_VOLUME'] = 'overlay';
await import('./operations.test.js');

export {};
