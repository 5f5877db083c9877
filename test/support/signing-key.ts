import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { runOk } from './run-program.js';
import type { Scratch } from './scratch.js';

export interface SigningKeyOptions {
  /** Makes a key that was valid for one day, years ago, and signs with it as if it were that day. */
  readonly isExpired?: boolean;
}

/** When expired keys were made, for gpg's own clock: the machine's is never touched. */
const LONG_AGO = '20200101T000000';
const SOON_AFTER = '20200101T010000';

/**
 * A key that signs packages and repositories, in a GnuPG home of its own below a temporary folder. Ed25519: it is made in
 * no time, and gpgv, rpm 4.18, dnf and libzypp all accept it.
 */
export class SigningKey {
  /** What `rpmsign` and `gpg --local-user` know it by. */
  readonly user: string;
  readonly home: string;
  /** The public key, binary and armored. */
  readonly keyring: string;
  readonly armored: string;
  readonly #isExpired: boolean;

  private constructor(folder: string, name: string, isExpired: boolean) {
    this.user = `${name} <${name}@example.org>`;
    this.home = join(folder, 'home');
    this.keyring = join(folder, `${name}.gpg`);
    this.armored = join(folder, `${name}.asc`);
    this.#isExpired = isExpired;
  }

  /** @param name a short word that stands in the key's user id and in the names of its files */
  static async make(folder: string, name: string, options: SigningKeyOptions = {}): Promise<SigningKey> {
    const key = new SigningKey(folder, name, options.isExpired ?? false);
    mkdirSync(key.home, { mode: 0o700 });
    const clock = key.#isExpired ? ['--faked-system-time', LONG_AGO] : [];
    await key.gpg(...clock, '--passphrase', '', '--quick-generate-key', key.user, 'ed25519', 'sign', key.#isExpired ? '1d' : 'never');
    await key.gpg('--output', key.keyring, '--export', key.user);
    await key.gpg('--output', key.armored, '--armor', '--export', key.user);
    return key;
  }

  gpg(...args: string[]): Promise<string> {
    return runOk('gpg', ['--homedir', this.home, '--batch', '--yes', '--quiet', ...args]);
  }

  /** @param form `clear`: text and signature in one (InRelease); `detached`: the signature alone, armored */
  async sign(file: string, signed: string, form: 'clear' | 'detached'): Promise<void> {
    const clock = this.#isExpired ? ['--faked-system-time', SOON_AFTER] : [];
    await this.gpg(...clock, '--local-user', this.user, '--digest-algo', 'SHA256', '--armor', '--output', signed, form === 'clear' ? '--clear-sign' : '--detach-sign', file);
  }

  /** Signs a .rpm in place, in place of the signature that it may have. */
  async signRpm(file: string): Promise<void> {
    const macros = { __gpg: '/usr/bin/gpg', _gpg_name: this.user, _gpg_path: this.home, _gpg_digest_algo: 'sha256', ...(this.#isExpired && { _gpg_sign_cmd_extra_args: `--faked-system-time ${SOON_AFTER}` }) };
    await runOk('rpmsign', [...Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`]), '--addsign', file]);
  }

  /** Ends the agent that gpg leaves running. */
  async close(): Promise<void> {
    await runOk('gpgconf', ['--homedir', this.home, '--kill', 'all']);
  }
}

/** To be called at the top of a test file, after `useScratch`. @returns makes keys, whose agents end with the file */
export function useSigningKeys(scratch: Scratch): (name: string, options?: SigningKeyOptions) => Promise<SigningKey> {
  const keys: SigningKey[] = [];
  afterAll(async () => {
    await Promise.all(keys.map((key) => key.close()));
  });
  return async (name, options) => {
    const key = await SigningKey.make(scratch.makeFolder('key'), name, options);
    keys.push(key);
    return key;
  };
}
