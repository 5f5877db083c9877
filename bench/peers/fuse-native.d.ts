/** What the peer needs of the npm package, which has no types of its own. */
declare module 'fuse-native' {
  import type { StatsBase } from 'node:fs';

  /** 0, or a negative errno. */
  type Done = (error: number) => void;

  export interface FuseOperations {
    getattr(path: string, done: (error: number, stat?: StatsBase<number>) => void): void;
    readdir(path: string, done: (error: number, names?: readonly string[]) => void): void;
    readlink(path: string, done: (error: number, target?: string) => void): void;
    open(path: string, flags: number, done: (error: number, fd?: number) => void): void;
    create(path: string, mode: number, done: (error: number, fd?: number) => void): void;
    read(path: string, fd: number, buffer: Buffer, length: number, position: number, done: (bytesOrError: number, bytes?: number) => void): void;
    write(path: string, fd: number, buffer: Buffer, length: number, position: number, done: (bytesOrError: number, bytes?: number) => void): void;
    release(path: string, fd: number, done: Done): void;
    fsync(path: string, datasync: number, fd: number, done: Done): void;
    truncate(path: string, size: number, done: Done): void;
    ftruncate(path: string, fd: number, size: number, done: Done): void;
    utimens(path: string, atimeMs: number, mtimeMs: number, done: Done): void;
    chown(path: string, uid: number, gid: number, done: Done): void;
    chmod(path: string, mode: number, done: Done): void;
    mkdir(path: string, mode: number, done: Done): void;
    rmdir(path: string, done: Done): void;
    unlink(path: string, done: Done): void;
    rename(from: string, to: string, done: Done): void;
    link(from: string, to: string, done: Done): void;
    symlink(target: string, path: string, done: Done): void;
  }

  export interface FuseOptions {
    readonly allowOther?: boolean;
    readonly defaultPermissions?: boolean;
    /** false: calls may take as long as they like. */
    readonly timeout?: false;
  }

  export default class Fuse {
    constructor(mountpoint: string, operations: FuseOperations, options?: FuseOptions);
    mount(done: (error: Error | null) => void): void;
  }
}
