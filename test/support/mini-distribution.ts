import { cpSync, existsSync, lstatSync, mkdirSync, openSync, closeSync, readSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buildRpm } from './rpm-repository.js';
import { runOk } from './run-program.js';
import type { SigningKey } from './signing-key.js';

/*
 * A distribution of RPMs in which the real rpm, dnf and zypper run. Its content is this machine's own: programs of Debian packages with
 * the libraries that they are linked with. It is small and needs no mirror; what it shows is what the package managers do.
 */

const TOOLS = ['bash', 'ls', 'cat', 'cp', 'mv', 'rm', 'mkdir', 'rmdir', 'ln', 'chmod', 'chown', 'touch', 'echo', 'true', 'false', 'test', 'env', 'id', 'uname', 'sleep', 'sync', 'stat', 'head', 'tail', 'tr', 'sed', 'grep', 'find', 'sha256sum', 'mktemp', 'dirname', 'basename', 'readlink', 'date', 'ps', 'dd', 'wc', 'sort', 'cmp', 'tar', 'xargs', 'cut', 'tee'];

/** Files of Debian packages that no program of a container asks for. */
const LEFT_OUT = /^\/usr\/share\/(doc|man|locale|bash-completion|lintian|bug|python3?\/debpython|icons|pixmaps|applications|info|zsh)\/|\/__pycache__\/|\.(h|a|pc)$|^\/usr\/lib\/systemd\/|^\/etc\/(cron|logrotate|init\.d|apt)|\/python3\.\d+\/(test|idlelib|lib2to3|ensurepip|tkinter|turtledemo|distutils|pydoc_data|config-[^/]*)\/|^\/var\//;

async function filesOf(...packages: string[]): Promise<string[]> {
  const listed = (await runOk('dpkg', ['-L', ...packages])).split('\n');
  return listed.filter((path) => path.startsWith('/') && !LEFT_OUT.test(path) && existsSync(path) && !lstatSync(path).isDirectory());
}

function isElf(path: string): boolean {
  if (!lstatSync(path).isFile()) return false;
  const fd = openSync(path, 'r');
  try {
    const magic = Buffer.alloc(4);
    readSync(fd, magic, 0, 4, 0);
    return magic.equals(Buffer.from('\x7fELF', 'latin1'));
  } finally {
    closeSync(fd);
  }
}

/** The libraries that programs and libraries are linked with, as the linker looks for them. */
async function librariesOf(files: readonly string[]): Promise<string[]> {
  const programs = files.filter(isElf);
  if (programs.length === 0) return [];
  const said = await runOk('sh', ['-c', 'for file do ldd "$file" 2>/dev/null || true; done', 'sh', ...programs]);
  return [...new Set([...said.matchAll(/(?:=> )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path = '']) => path))];
}

/** `/bin` and the like are links to what is below /usr; packages have the real place. */
function merged(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/');
}

/** Copies files into a stage, each one once over all packages. */
function stageFiles(stage: string, files: readonly string[], taken: Set<string>): void {
  for (const path of files) {
    const place = merged(path);
    if (taken.has(place)) continue;
    taken.add(place);
    const target = join(stage, place);
    mkdirSync(dirname(target), { recursive: true });
    // Links of libraries end at versions that differ by machine: the name that the linker asks for is what counts.
    const isLibrary = /\.so(\.|$)/.test(path);
    cpSync(isLibrary ? realpathSync(path) : path, target, { verbatimSymlinks: true, preserveTimestamps: true });
  }
}

function writeBase(stage: string): void {
  for (const name of ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'usr/share', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'opt', 'srv', 'var/lib', 'var/log', 'var/cache', 'var/tmp']) mkdirSync(join(stage, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(stage, name));
  symlinkSync('bash', join(stage, 'usr/bin/sh'));
  writeFileSync(join(stage, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  writeFileSync(join(stage, 'etc/group'), 'root:x:0:\nnobody:x:65534:\n');
  writeFileSync(join(stage, 'etc/nsswitch.conf'), 'passwd: files\ngroup: files\n');
  writeFileSync(join(stage, 'etc/os-release'), 'ID=mini\nVERSION_ID=1\nPRETTY_NAME="Mini 1"\n');
}

const PACKAGE_MANAGERS = {
  dnf: { packages: ['dnf', 'python3-dnf', 'python3-libdnf', 'python3-hawkey', 'python3-libcomps', 'python3-rpm', 'python3-gpg', 'dnf-data'], requires: ['mini-python3', 'mini-rpm'] },
  zypper: { packages: ['zypper', 'zypper-common', 'libzypp1722', 'libsolv-tools'], requires: ['mini-rpm'] },
} as const;

/**
 * Builds the packages `mini-base`, `mini-rpm`, and `mini-dnf` with `mini-python3`, or `mini-zypper`.
 *
 * @returns their paths
 */
export async function buildMiniDistribution(folder: string, manager: keyof typeof PACKAGE_MANAGERS, key: SigningKey): Promise<string[]> {
  const taken = new Set<string>();
  const packages: string[] = [];
  const add = async (name: string, files: readonly string[], requires: readonly string[], provides: readonly string[] = [], prepare?: (stage: string) => void): Promise<void> => {
    const tree = join(folder, `stage-${name}`);
    mkdirSync(tree, { recursive: true });
    prepare?.(tree);
    stageFiles(tree, [...files, ...(await librariesOf(files))], taken);
    packages.push(await buildRpm(folder, { name, version: '1', requires }, { key, tree, provides }));
  };
  const tools = (await runOk('sh', ['-c', 'for name do command -v "/usr/bin/$name" "/bin/$name" | head -1; done', 'sh', ...TOOLS])).trim().split('\n');
  const locale = (await filesOf('libc-bin')).filter((path) => path.startsWith('/usr/lib/locale/C.utf8/'));
  await add('mini-base', [...tools, ...locale], [], ['/bin/sh', '/bin/bash'], writeBase);
  await add('mini-rpm', await filesOf('rpm', 'rpm-common', 'librpm9', 'librpmio9'), ['mini-base'], [], (stage) => {
    // Debian keeps the database in a home; distributions of RPMs do not.
    mkdirSync(join(stage, 'etc/rpm'), { recursive: true });
    writeFileSync(join(stage, 'etc/rpm/macros'), '%_dbpath /usr/lib/sysimage/rpm\n%_db_backend sqlite\n');
  });
  if (manager === 'dnf') {
    const version = (await runOk('/usr/bin/python3', ['-c', 'import sys; print("python%d.%d" % sys.version_info[:2])'])).trim();
    await add('mini-python3', await filesOf('python3-minimal', `${version}-minimal`, `lib${version}-minimal`, `lib${version}-stdlib`), ['mini-base']);
  }
  const { packages: debian, requires } = PACKAGE_MANAGERS[manager];
  await add(`mini-${manager}`, await filesOf(...debian), requires);
  return packages;
}
