import { createReadStream } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect as tlsConnect } from 'node:tls';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { errnoOf, TemplatefsError } from '../core/errors.js';

export interface DownloadOptions {
  /** More bytes than this are refused: INTEGRITY. */
  readonly limitBytes: number;
  readonly onPiece: (piece: Buffer) => Promise<void> | void;
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 30_000;
const TRIES = 3;
const MAX_REDIRECTS = 5;

function unreachable(url: string, why: string, cause?: unknown): TemplatefsError {
  return new TemplatefsError('NO_MIRROR', `cannot download ${url}: ${why}`, {
    hint: 'name a mirror that can be reached (docs/templates.md, Variables), or fetch ahead where there is a network: templatefs fetch',
    cause,
  });
}

/** The proxy for a URL by the variables that curl and apt know; undefined for none. */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv = process.env): URL | undefined {
  const value = (name: string): string => environment[name] ?? environment[name.toUpperCase()] ?? '';
  const host = url.hostname;
  const isExempt = value('no_proxy').split(',').map((entry) => entry.trim().replace(/^\*?\./, '')).some((entry) => entry === '*' || (entry !== '' && (host === entry || host.endsWith(`.${entry}`))));
  const proxy = value(`${url.protocol.slice(0, -1)}_proxy`) || value('all_proxy');
  if (isExempt || proxy === '') return undefined;
  return new URL(proxy.includes('://') ? proxy : `http://${proxy}`);
}

function credentials(proxy: URL): Record<string, string> {
  if (proxy.username === '') return {};
  const text = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'Proxy-Authorization': `Basic ${Buffer.from(text).toString('base64')}` };
}

/** A TLS connection to `url` through `proxy`. */
function tunnel(url: URL, proxy: URL, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = `${url.hostname}:${url.port === '' ? '443' : url.port}`;
    const asked = httpRequest({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target, headers: { Host: target, ...credentials(proxy) }, timeout: TIMEOUT_MS, ...(signal !== undefined && { signal }) });
    asked.once('connect', (answer, socket) => {
      if (answer.statusCode === 200) resolve(tlsConnect({ socket, servername: url.hostname }));
      else reject(new Error(`the proxy answered ${String(answer.statusCode)}`));
    });
    asked.once('timeout', () => asked.destroy(new Error('timed out')));
    asked.once('error', reject);
    asked.end();
  });
}

async function get(url: URL, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  const proxy = proxyFor(url);
  const headers = { 'User-Agent': 'templatefs', Host: url.host };
  const common: RequestOptions = { timeout: TIMEOUT_MS, headers, ...(signal !== undefined && { signal }) };
  const secured = url.protocol === 'https:' && proxy !== undefined ? await tunnel(url, proxy, signal) : undefined;
  return new Promise((resolve, reject) => {
    const asked = secured !== undefined
      ? httpRequest({ ...common, host: url.hostname, path: url.pathname + url.search, createConnection: () => secured })
      : url.protocol === 'https:'
        ? httpsRequest(url, common)
        : proxy === undefined
          ? httpRequest(url, common)
          : httpRequest({ ...common, host: proxy.hostname, port: proxy.port, path: url.href, headers: { ...headers, ...credentials(proxy) } });
    asked.once('response', resolve);
    asked.once('timeout', () => asked.destroy(new Error('timed out')));
    asked.once('error', reject);
    asked.end();
  });
}

/** Whether another try may help: not for what the server knows that it does not have. */
class Permanent extends Error {}

async function open(url: URL, signal: AbortSignal | undefined): Promise<AsyncIterable<Buffer>> {
  let at = url;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    if (at.protocol !== 'http:' && at.protocol !== 'https:') throw new Permanent(`${at.protocol}// is not supported`);
    const answer = await get(at, signal);
    const status = answer.statusCode ?? 0;
    if (status === 200) return answer;
    answer.destroy();
    const location = answer.headers.location;
    if (status >= 300 && status < 400 && location !== undefined) {
      at = new URL(location, at);
      continue;
    }
    throw status >= 500 || status === 429 ? new Error(`the server answered ${status}`) : new Permanent(`the server answered ${status}`);
  }
  throw new Permanent('too many redirects');
}

/**
 * Downloads a file by http, https (also through a proxy) or file. Whoever calls this checks what has come: nothing here is trusted.
 * A connection that fails before the first byte is tried again.
 *
 * @throws NO_MIRROR, INTEGRITY (longer than the limit), INTERRUPTED
 */
export async function download(address: string, options: DownloadOptions): Promise<void> {
  const url = new URL(address);
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted();
    let received = 0;
    try {
      const body: AsyncIterable<Buffer> = url.protocol === 'file:' ? createReadStream(fileURLToPath(url)) : await open(url, options.signal);
      for await (const piece of body) {
        received += piece.length;
        if (received > options.limitBytes) {
          throw new TemplatefsError('INTEGRITY', `${address} is longer than the ${options.limitBytes} bytes that were expected`, {
            hint: 'the mirror is broken, in the middle of an update, or was tampered with: try again later, or name another mirror',
          });
        }
        await options.onPiece(piece);
      }
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof TemplatefsError) throw error;
      if (['ENOSPC', 'EDQUOT', 'EROFS'].includes(errnoOf(error) ?? '')) throw error;
      const isLast = error instanceof Permanent || url.protocol === 'file:' || received > 0 || attempt === TRIES;
      if (isLast) throw unreachable(address, error instanceof Error ? error.message : String(error), error);
    }
  }
}

/** As `download`, into memory. */
export async function downloadText(address: string, options: Omit<DownloadOptions, 'onPiece'>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await download(address, { ...options, onPiece: (piece) => { pieces.push(piece); } });
  return Buffer.concat(pieces);
}
