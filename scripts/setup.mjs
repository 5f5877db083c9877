// npm run setup: everything that a fresh clone needs before it can run. Where all is there it costs a second.
//
//   node scripts/setup.mjs

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, nodeHeaders } from './build.mjs';
import { digestOf, main, mustRun, readStamp, ROOT, say, ScriptError, writeStamp } from './checkout.mjs';

const STAMP = 'node_modules/.templatefs-stamp';

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 15)) throw new ScriptError(`Node.js ${process.versions.node} is too old\n  hint: install Node.js 20.15 or newer`);
}

/** Whether somebody ran npm ci or npm install by hand for this very package-lock.json. */
function isInstalledByHand() {
  const installed = join(ROOT, 'node_modules/.package-lock.json');
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs;
}

async function installNpmPackages() {
  const wanted = digestOf(['package-lock.json']);
  if (readStamp(STAMP) === wanted) return;
  if (readStamp(STAMP) !== undefined || !isInstalledByHand()) {
    say('Installing npm packages: npm ci');
    const headers = nodeHeaders();
    await mustRun('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      env: {
        TEMPLATEFS_SETUP: '1', // the engine is built below, once
        // Only the benchmarks use it, with a library that only they install: its own test would fail here and compile it anew.
        FUSE_NATIVE: '1',
        // node-gyp, which npm ci starts for what has no prebuilt binary, then needs no download.
        ...(headers === undefined ? {} : { npm_config_nodedir: headers }),
      },
    });
  }
  writeStamp(STAMP, wanted);
}

/** @param options as those of build.mjs; options.packageGroups: Debian packages of which groups, if not the usual ones */
export async function setup(options = {}) {
  checkNode();
  await mustRun('bash', ['scripts/install-debian-packages.sh', ...(options.packageGroups ?? [])], { name: 'installing Debian packages' });
  await installNpmPackages();
  await build(options);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await setup();
    say('Ready: ./bin/templatefs --help');
  });
}
