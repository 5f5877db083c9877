/** The type bits of `st_mode`, and the `d_type` that belongs to each (inode(7), readdir(3)). */
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;

const KNOWN_TYPES: ReadonlySet<number> = new Set([S_IFIFO, S_IFCHR, S_IFDIR, S_IFBLK, S_IFREG, S_IFLNK, S_IFSOCK]);

/** The kernel defines `d_type` as the type bits of the mode, shifted. */
export function entryType(mode: number): number {
  return (mode & S_IFMT) >>> 12;
}

export function isKnownType(mode: number): boolean {
  return KNOWN_TYPES.has(mode & S_IFMT);
}

export function isFolder(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

export function isRegular(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG;
}

export function isSymlink(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK;
}

export function isDevice(mode: number): boolean {
  const type = mode & S_IFMT;
  return type === S_IFCHR || type === S_IFBLK;
}

/** Largest device numbers that `encodeDevice` can hold: the kernel's own limits (MINORBITS is 20). */
export const MAX_MAJOR = 0xfff;
export const MAX_MINOR = 0xf_ffff;

/** A device number as the kernel encodes it for user space (`new_encode_dev` of linux/kdev_t.h). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
