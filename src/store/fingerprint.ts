import xxhash from 'xxhash-addon';

/** XXH3-128 with seed 0; the addon takes the seed as eight bytes. */
const NO_SEED = Buffer.alloc(8);
const ZEROS = Buffer.alloc(1 << 20);

/** How many of the fingerprint's 128 bits count. Anything below 128 exists for tests: it makes collisions common. */
export const FULL_HASH_BITS = 128;

/** The fingerprint of one content: XXH3-128, canonical order, 32 lower-case hex digits. */
export function fingerprint(content: Buffer, hashBits = FULL_HASH_BITS): string {
  return weakened(xxhash.XXHash128.hash(content).toString('hex'), hashBits);
}

/** The fingerprint of a content that comes in pieces. */
export class Fingerprint {
  readonly #state = new xxhash.XXHash128(NO_SEED);

  update(piece: Buffer): void {
    this.#state.update(piece);
  }

  /** Feeds `length` zero bytes: what a hole stands for. */
  updateZeros(length: number): void {
    for (let left = length; left > 0; left -= ZEROS.length) {
      this.#state.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
    }
  }

  digest(hashBits = FULL_HASH_BITS): string {
    return weakened(this.#state.digest().toString('hex'), hashBits);
  }
}

/** What is left of a fingerprint when fewer bits count. */
export function weakened(hash: string, hashBits = FULL_HASH_BITS): string {
  if (hashBits >= FULL_HASH_BITS) return hash;
  const kept = BigInt(`0x${hash}`) >> BigInt(FULL_HASH_BITS - hashBits);
  return (kept << BigInt(FULL_HASH_BITS - hashBits)).toString(16).padStart(32, '0');
}
