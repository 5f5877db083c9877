import { stat } from 'node:fs/promises';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import type { ImportResult } from './finish-import.js';
import { findUntarred } from './find-untarred.js';
import { importStream, type ImportOptions } from './import-tar.js';
import { packFolder } from './pack-folder.js';

/**
 * Imports a folder as it is: all inode types, owners, times, xattrs, ACLs, hard links and holes. Nothing may change in
 * the folder meanwhile; what GNU tar notices of that is an error. File systems mounted below it are taken along (so
 * unmount /proc and the like first); files whose other hard links lie outside have only the links inside.
 * The same folder gives the same tree; so does an archive that GNU tar makes of it with all of that.
 * @throws as `importTar`; FAILED when tar is missing, fails or finds that a file changed
 */
export async function importFolder(paths: StorePaths, folder: string, options: ImportOptions = {}): Promise<ImportResult> {
  await checkFolder(folder);
  // What is mounted below the folder is a part of what is seen there.
  const packed = packFolder(folder, { oneFileSystem: false });
  try {
    return await importStream(paths, packed.archive, options, async (hierarchy) => {
      const failure = await packed.ended;
      if (failure !== undefined) throw failure;
      for (const member of await findUntarred(folder, options.signal)) hierarchy.place(member);
    });
  } catch (error) {
    if (error instanceof TemplatefsError && error.code === 'BAD_ARCHIVE' && !packed.wasStopped()) {
      // The stream of a tar that failed is cut short; why it failed says more. One that is killed below says nothing.
      const failure = await packed.ended;
      if (failure !== undefined && !packed.wasStopped()) throw failure;
    }
    throw error;
  } finally {
    await packed.stop();
  }
}

async function checkFolder(folder: string): Promise<void> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(folder)).isDirectory();
  } catch (cause) {
    throw new TemplatefsError('FAILED', `cannot read ${folder}: ${errnoOf(cause) ?? String(cause)}`, { hint: 'name a folder or a tar archive', cause });
  }
  if (!isFolder) throw new TemplatefsError('FAILED', `${folder} is no folder`, { hint: 'name a folder or a tar archive' });
}
