import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const FILE = fileURLToPath(new URL('../../integrations/containerd/snapshots.proto', import.meta.url));

/** The service `containerd.services.snapshots.v1.Snapshots`, for servers and clients; its messages are those of messages.ts. */
export function snapshotsService(): ServiceDefinition {
  const service = loadSync(FILE, { keepCase: true, longs: Number, defaults: true })['containerd.services.snapshots.v1.Snapshots'];
  // A package holds services and messages; which of them a name is, only who has written the file knows.
  return service as ServiceDefinition;
}
