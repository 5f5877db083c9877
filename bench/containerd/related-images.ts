import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from '../runner/run-program.js';

/*
 * Five images as they are found together on a node: three applications on one base layer, and newer versions of two of them, on the base
 * layer of a later day: the same packages unpacked anew (other times), one file in fifty of another version. What an application adds is noise that
 * nobody else has; its newer version changes one file in ten of that.
 */

export const IMAGE_NAMES = ['web-1', 'web-2', 'db-1', 'db-2', 'worker-1'] as const;

/** How they are called once containerd has them. */
export function imageName(name: (typeof IMAGE_NAMES)[number]): string {
  return `bench.local/${name}:latest`;
}

export interface RelatedImagesOptions {
  readonly baseTar: string;
  readonly cacheFolder: string;
  readonly quick: boolean;
  readonly signal: AbortSignal;
}

const APP_FILES = 300;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** @returns an archive for `ctr images import` with all five; made once and kept */
export async function relatedImages(options: RelatedImagesOptions): Promise<string> {
  const { baseTar, cacheFolder, quick, signal } = options;
  const { size, mtimeMs } = await stat(baseTar);
  const digest = createHash('sha256').update(JSON.stringify([baseTar, size, mtimeMs, quick])).digest('hex').slice(0, 12);
  const archive = join(cacheFolder, `related-images-${digest}.tar`);
  if (await access(archive).then(() => true, () => false)) return archive;
  const folder = `${archive}.half`;
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'layout/blobs/sha256'), { recursive: true });
  try {
    await runProgram('bash', ['-euc', LAYERS, 'layers', folder, baseTar, String(quick ? 32 : 100), String(APP_FILES)], { signal });
    await writeLayout(folder);
    await runProgram('tar', ['-cf', `${folder}/archive`, '-C', join(folder, 'layout'), '.'], { signal });
    await rename(`${folder}/archive`, archive);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return archive;
}

/** FOLDER BASE KIB FILES: leaves base-1.tar, base-2.tar and APP-VERSION.tar. */
const LAYERS = `
cd "$1"
cp --reflink=auto "$2" base-1.tar
mkdir base
tar -x --xattrs --xattrs-include='*' --numeric-owner -p -f base-1.tar -C base
find base/usr -type f -size +1k | sort | awk 'NR % 50 == 0' | while read -r file; do printf 'x' >> "$file"; done
find base -depth -exec touch --no-dereference --date='+1 day' {} +
tar -c --xattrs --xattrs-include='*' --numeric-owner -f base-2.tar -C base .
rm -rf base
noise() { head -c "$(( $1 * 1024 ))" /dev/urandom > "$2"; }
for app in web db worker; do
  mkdir -p "app/opt/$app"
  for number in $(seq "$4"); do noise "$3" "app/opt/$app/$number"; done
  tar -c --numeric-owner -f "$app-1.tar" -C app .
  for number in $(seq 10 10 "$4"); do noise "$3" "app/opt/$app/$number"; done
  tar -c --numeric-owner -f "$app-2.tar" -C app .
  rm -rf app
done
`;

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

async function writeLayout(folder: string): Promise<void> {
  const layout = join(folder, 'layout');
  const layers = new Map<string, Descriptor>();
  const layer = async (name: string): Promise<Descriptor> => {
    const known = layers.get(name);
    if (known !== undefined) return known;
    const hash = createHash('sha256');
    for await (const piece of createReadStream(join(folder, `${name}.tar`))) hash.update(piece as Buffer);
    const hex = hash.digest('hex');
    const blob = join(layout, 'blobs/sha256', hex);
    await rename(join(folder, `${name}.tar`), blob);
    const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: `sha256:${hex}`, size: (await stat(blob)).size };
    layers.set(name, descriptor);
    return descriptor;
  };
  const json = async (content: object, mediaType: string): Promise<Descriptor> => {
    const text = JSON.stringify(content);
    const hex = createHash('sha256').update(text).digest('hex');
    await writeFile(join(layout, 'blobs/sha256', hex), text);
    return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(text) };
  };
  const manifests: object[] = [];
  for (const name of IMAGE_NAMES) {
    const own = [await layer(`base-${name.endsWith('2') ? 2 : 1}`), await layer(name)];
    const architecture = process.arch === 'x64' ? 'amd64' : 'arm64';
    const config = await json(
      { os: 'linux', architecture, config: { Cmd: ['/bin/sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] }, rootfs: { type: 'layers', diff_ids: own.map(({ digest }) => digest) } },
      'application/vnd.oci.image.config.v1+json',
    );
    const manifest = await json({ schemaVersion: 2, mediaType: MANIFEST, config, layers: own }, MANIFEST);
    manifests.push({ ...manifest, platform: { os: 'linux', architecture }, annotations: { 'io.containerd.image.name': imageName(name) } });
  }
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
}
