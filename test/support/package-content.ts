import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface FileContent {
  readonly content: string | Buffer;
  /** 0644 if left out. */
  readonly mode?: number;
}

/** What a test puts into a package, .deb and .rpm alike. */
export interface PackageContent {
  readonly name: string;
  /** Without a revision. */
  readonly version: string;
  /** Absolute paths. */
  readonly files?: Readonly<Record<string, string | FileContent | { readonly linkTo: string }>>;
  /** Those of `files` that are configuration: kept if the user changed them. */
  readonly configuration?: readonly string[];
  /** Names of packages. */
  readonly requires?: readonly string[];
  /** Lines of shell. Arguments differ: `configure 1.0` for dpkg, the number of installed versions for rpm. */
  readonly scripts?: {
    readonly beforeInstall?: string;
    readonly afterInstall?: string;
    readonly beforeRemove?: string;
    readonly afterRemove?: string;
  };
}

/** Writes the files of a package below `folder`. */
export function writePackageFiles(folder: string, { files = {} }: PackageContent): void {
  for (const [path, file] of Object.entries(files)) {
    const place = join(folder, path);
    mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
    if (typeof file === 'object' && 'linkTo' in file) {
      symlinkSync(file.linkTo, place);
      continue;
    }
    const { content, mode = 0o644 } = typeof file === 'string' ? { content: file } : file;
    writeFileSync(place, content);
    chmodSync(place, mode);
  }
}
