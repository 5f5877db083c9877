import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** A folder that the test's own process serves on the loopback device. */
export interface FolderServer {
  readonly url: string;
  /** The paths that were asked for. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/** Serves files, nothing else: no lists, no ranges, no writing. */
export async function serveFolder(folder: string): Promise<FolderServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    requests.push(path);
    const file = join(folder, path);
    const status = file.startsWith(`${folder}/`) ? statSync(file, { throwIfNoEntry: false }) : undefined;
    if (status?.isFile() !== true) {
      response.writeHead(404).end();
      return;
    }
    const modified = new Date(Math.floor(status.mtimeMs / 1000) * 1000);
    if (new Date(request.headers['if-modified-since'] ?? 0) >= modified) {
      response.writeHead(304).end();
      return;
    }
    response.writeHead(200, { 'content-length': status.size, 'last-modified': modified.toUTCString() });
    if (request.method === 'HEAD') response.end();
    else createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () => new Promise((resolve) => {
      server.close(() => { resolve(); });
      server.closeAllConnections();
    }),
  };
}

/** To be called at the top of a test file. @returns as {@link serveFolder}; the servers end with the file */
export function useFolderServers(): (folder: string) => Promise<FolderServer> {
  const servers: FolderServer[] = [];
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.close()));
  });
  return async (folder) => {
    const server = await serveFolder(folder);
    servers.push(server);
    return server;
  };
}
