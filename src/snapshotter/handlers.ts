import type { handleServerStreamingCall, handleUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ContainerdFile, ContainerdKind, Moment } from '../catalog/containerd-file.js';
import { KIND } from './messages.js';
import type * as messages from './messages.js';
import type { Snapshotter } from './snapshotter.js';
import { STATUS, StatusError, statusOf } from './status.js';

/** As containerd's own: messages stay well below the limit of 16 MiB. */
const INFOS_PER_MESSAGE = 100;

const KINDS: Readonly<Record<ContainerdKind, number>> = { view: KIND.view, active: KIND.active, committed: KIND.committed };

function timestamp({ seconds, nanoseconds }: Moment): messages.Timestamp {
  return { seconds, nanos: nanoseconds };
}

function infoOf(record: ContainerdFile): messages.Info {
  const { key, parent, kind, created, updated, labels } = record;
  return { name: key, parent, kind: KINDS[kind], created_at: timestamp(created), updated_at: timestamp(updated), labels: Object.fromEntries(labels) };
}

/** @param onError told of what is nobody's wrong question but a fault of ours or of this machine */
export function snapshotHandlers(snapshotter: Snapshotter, onError: (call: string, error: unknown) => void): UntypedServiceImplementation {
  const unary = <Request, Response>(name: string, answer: (request: Request) => Response | Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, callback) => {
      const work = async (): Promise<Response> => answer(call.request);
      work().then(
        (response) => { callback(null, response); },
        (error: unknown) => {
          if (!(error instanceof StatusError)) onError(name, error);
          callback(statusOf(error));
        },
      );
    };
  const prepare = (name: string, kind: 'active' | 'view'): handleUnaryCall<messages.PrepareRequest, messages.MountsResponse> =>
    unary(name, async ({ key, parent, labels }) => ({ mounts: await snapshotter.prepare({ kind, key, parent, labels }) }));
  const list: handleServerStreamingCall<messages.ListRequest, messages.ListResponse> = (call) => {
    try {
      const records = snapshotter.list(call.request.filters);
      for (let at = 0; at < records.length; at += INFOS_PER_MESSAGE) call.write({ info: records.slice(at, at + INFOS_PER_MESSAGE).map(infoOf) });
      call.end();
    } catch (error) {
      if (!(error instanceof StatusError)) onError('List', error);
      call.emit('error', statusOf(error));
    }
  };
  return {
    Prepare: prepare('Prepare', 'active'),
    View: prepare('View', 'view'),
    Mounts: unary('Mounts', async ({ key }: messages.KeyRequest): Promise<messages.MountsResponse> => ({ mounts: await snapshotter.mounts(key) })),
    Commit: unary('Commit', async ({ name, key, labels }: messages.CommitRequest): Promise<messages.Empty> => {
      await snapshotter.commit({ name, key, labels });
      return {};
    }),
    Remove: unary('Remove', async ({ key }: messages.KeyRequest): Promise<messages.Empty> => {
      await snapshotter.remove(key);
      return {};
    }),
    Stat: unary('Stat', ({ key }: messages.KeyRequest): messages.InfoResponse => ({ info: infoOf(snapshotter.stat(key)) })),
    Update: unary('Update', ({ info, update_mask: mask }: messages.UpdateRequest): messages.InfoResponse => {
      if (info === null || info.name === '') throw new StatusError(STATUS.invalidArgument, 'which snapshot is to be updated?');
      return { info: infoOf(snapshotter.update(info.name, info.labels, mask?.paths ?? [])) };
    }),
    List: list,
    Usage: unary('Usage', async ({ key }: messages.KeyRequest): Promise<messages.UsageResponse> => {
      const { bytes, inodes } = await snapshotter.usage(key);
      return { size: bytes, inodes };
    }),
    Cleanup: unary('Cleanup', async (): Promise<messages.Empty> => {
      await snapshotter.cleanUp();
      return {};
    }),
  };
}
