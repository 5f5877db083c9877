// npm run demo: the main job on real input. Makes a Debian 12 template with mmdebstrap, starts two containers from it,
// works in them, and shows what sharing saves. Uses ./bin/templatefs only, as a user would, and leaves nothing behind.
//
//   npm run demo                        in a temporary store, which is removed at the end
//   npm run demo -- --keep STORE        in STORE, which stays (nothing stays mounted)
//   npm run demo -- --tar FILE          imports a root from a tar instead of bootstrapping (no mirror needed)

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { main, passSignalsOn, ROOT, run, say, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

const TEMPLATE = 'debian-12-x86_64';
const NO_MIRROR_STATUS = 1;

let store;

function quoted(word) {
  return /^[A-Za-z0-9_./:=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Shows a command as it could be typed, and runs it. */
async function templatefs(args, options = {}) {
  if (options.silent !== true) say(`\n$ templatefs ${args.map(quoted).join(' ')}`);
  return run(join(ROOT, 'bin/templatefs'), ['--store', store, ...args], { stdin: 'ignore', ...options });
}

async function must(args, options) {
  const status = await templatefs(args, options);
  if (status !== 0) throw new ScriptError(`templatefs ${args[0]} failed (exit status ${status})`);
}

async function readJson(args) {
  let text = '';
  await must(['--json', ...args], { silent: true, quiet: true, onOutput: (more) => (text += more) });
  return JSON.parse(text);
}

function mebibytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1).padStart(8)} MiB`;
}

function heading(text) {
  say(`\n━━ ${text}`);
}

async function makeTemplate(tar) {
  if (tar !== undefined) {
    heading('An OS template from a tar');
    await must(['template', 'import', TEMPLATE, resolve(tar)]);
    return;
  }
  heading('An OS template: Debian 12, made by mmdebstrap from its definition in templates/');
  const status = await templatefs(['template', 'create', TEMPLATE]);
  if (status === NO_MIRROR_STATUS) {
    throw new ScriptError(
      'The template could not be made; the message above says why. If no Debian mirror can be reached from here:\n' +
        '  name one that can:    DEB_MIRROR=http://mirror.example/debian npm run demo\n' +
        '  or bring a root:      npm run demo -- --tar FILE      (any root file system of Debian 12 as a tar)',
    );
  }
  if (status !== 0) throw new ScriptError(`templatefs template create failed (exit status ${status})`);
}

/** Reads every file of 1 MB and more, as a working container would over time. */
const READ_BIG_FILES = "find /usr -xdev -type f -size +1023k -exec cat {} + | wc -c";

async function account() {
  const { disk, memory, containers } = await readJson(['stats']);
  const row = (what, [without, withSharing, saved]) => say(`  ${what.padEnd(38)}${mebibytes(without)}  ${mebibytes(withSharing)}  ${mebibytes(saved)}`);
  say(`\n  ${''.padEnd(38)} not shared       stored        saved`);
  row(`disk: the template and ${containers.length} containers`, [disk.logicalBytes, disk.storedBytes, disk.savedBytes]);
  row('memory: page cache of shared files', [memory.withoutSharingBytes, memory.residentBytes, memory.savedBytes]);
  for (const { name, privateBytes } of containers) say(`  ${name} takes ${mebibytes(privateBytes).trim()} of its own`);
}

async function work(tar) {
  await makeTemplate(tar);

  heading('Two containers from it');
  for (const name of ['c1', 'c2']) await must(['create', name, '--ostemplate', TEMPLATE]);
  for (const name of ['c1', 'c2']) await must(['mount', name]);
  await must(['list']);

  heading('They are whole Debian systems');
  for (const name of ['c1', 'c2']) {
    await must(['exec', name, '--', 'sh', '-c', '. /etc/os-release; echo "$(hostname): $PRETTY_NAME, $(dpkg -l | grep -c ^ii) packages"']);
  }

  heading('Each has a file of its own');
  await must(['exec', 'c1', '--', 'sh', '-c', 'echo "written in c1" > /root/note; cat /root/note']);
  await must(['exec', 'c2', '--', 'sh', '-c', 'cat /root/note 2>/dev/null || echo "c2 does not see it"']);

  heading('Reading the same big files in both: the second time they are in the page cache already');
  for (const name of ['c1', 'c2']) await must(['exec', name, '--', 'sh', '-c', READ_BIG_FILES]);

  heading('What sharing saves');
  await account();

  if (tar === undefined) {
    heading('apt, unmodified, in one of them');
    await must(['exec', 'c1', '--', 'sh', '-c', 'apt-get update -qq && apt-get install -y jq && apt-get clean && rm -rf /var/lib/apt/lists/*']);
    await must(['exec', 'c1', '--', 'sh', '-c', 'echo \'{"installed":"jq"}\' | jq -c .; dpkg --verify jq && echo "dpkg --verify finds nothing wrong"']);
    await must(['exec', 'c2', '--', 'sh', '-c', 'command -v jq || echo "c2 has no jq"']);
  }

  heading('What c1 changed: the first of its differences from the template');
  let lines = 0;
  say('\n$ templatefs diff c1 | head -n 15');
  let rest = '';
  await must(['diff', 'c1'], {
    silent: true,
    quiet: true,
    onOutput: (text) => {
      const all = (rest + text).split('\n');
      rest = all.pop();
      for (const line of all) if (++lines <= 15) say(line);
    },
  });
  say(`… ${lines} lines in all`);

  heading('What sharing saves now');
  for (const name of ['c1', 'c2']) await must(['exec', name, '--', 'sh', '-c', READ_BIG_FILES], { silent: true, quiet: true, onOutput: () => undefined });
  await account();
  await must(['stats']);

  heading('Nothing is mounted any more, and the store is sound');
  for (const name of ['c1', 'c2']) await must(['umount', name]);
  await must(['verify']);
}

/** Whatever happened: nothing of the demo stays mounted, and a temporary store is removed. */
async function cleanUp(isTemporary) {
  const quiet = { silent: true, quiet: true, onOutput: () => undefined, evenInterrupted: true };
  if (existsSync(join(store, 'run'))) {
    for (const name of ['c1', 'c2']) {
      if (existsSync(join(store, 'private', name))) await templatefs(['--quiet', 'umount', name, '--force'], quiet);
    }
  }
  if (isTemporary) rmSync(store, { recursive: true, force: true });
}

await main(async () => {
  const { values } = parseArgs({ options: { keep: { type: 'string' }, tar: { type: 'string' } } });
  if (values.tar !== undefined && !existsSync(values.tar)) throw new ScriptError(`no such file: ${values.tar}`);
  passSignalsOn();
  await setup();
  const isTemporary = values.keep === undefined;
  store = isTemporary ? mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'templatefs-demo-')) : resolve(values.keep);
  try {
    await work(values.tar);
  } finally {
    await cleanUp(isTemporary);
  }
  say(isTemporary ? '\nThe demo\'s store is removed.' : `\nThe store stays: ./bin/templatefs --store ${store} list`);
});
