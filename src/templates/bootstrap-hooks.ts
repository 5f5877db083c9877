import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TemplateDefinition } from './definition.js';
import type { BootstrapHooks } from './mmdebstrap-arguments.js';

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * mmdebstrap copies the host's resolv.conf and hostname into the root, and leaves the options that it was given. The
 * template gets neutral ones: what a container resolves with is decided when it runs.
 */
const CLEAN_UP = `#!/bin/sh
set -e
cd "$1/etc"
rm -f resolv.conf hostname hosts apt/apt.conf.d/99mmdebstrap dpkg/dpkg.cfg.d/99mmdebstrap
: > resolv.conf
echo localhost > hostname
printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n' > hosts
chmod 0644 resolv.conf hostname hosts
[ ! -e machine-id ] || : > machine-id
`;

/** Runs the definition's post-cache in the new root, with the definition's environment. */
function postCacheRunner(script: string, environment: Readonly<Record<string, string>>): string {
  const settings = Object.entries(environment).map(([name, value]) => quote(`${name}=${value}`)).join(' ');
  return `#!/bin/sh
set -e
install -m 0700 ${quote(script)} "$1/.templatefs-post-cache"
chroot "$1" /usr/bin/env ${settings} /.templatefs-post-cache
rm -f "$1/.templatefs-post-cache"
`;
}

/** Writes the hooks of a bootstrap into `folder`. They are files, so that the tool's log names them and does not quote them. */
export async function writeBootstrapHooks(definition: TemplateDefinition, folder: string): Promise<BootstrapHooks> {
  const script = async (name: string, text: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, text, { mode: 0o755 });
    return path;
  };
  const { 'pre-cache': preCache, 'post-cache': postCache } = definition.scripts;
  return {
    preCache,
    postCache: postCache === undefined ? undefined : await script('post-cache', postCacheRunner(postCache, definition.environment)),
    cleanUp: await script('clean-up', CLEAN_UP),
  };
}
