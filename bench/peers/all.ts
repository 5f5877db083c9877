import { FINDERS } from './duplicate-finders.js';
import { fuseOverlayfs } from './fuse-overlayfs.js';
import { host } from './host.js';
import { overlayfs, overlayfsMetacopy, overlayfsVolatile } from './overlayfs.js';
import { passThrough } from './pass-through.js';
import type { Peer } from './peer.js';
import { templatefs } from './templatefs.js';
import { unionfsFuse } from './unionfs-fuse.js';

/** Every peer, in the order of the tables. */
export const PEERS: readonly Peer[] = [host, overlayfs, overlayfsMetacopy, overlayfsVolatile, fuseOverlayfs, unionfsFuse, passThrough, ...FINDERS, templatefs];

/** What all others are compared with, and what is measured twice to see the noise. */
export const REFERENCE = overlayfs;
/** What this project is about. */
export const SUBJECT = templatefs;
