/*
 * The messages of containerd's API `containerd.services.snapshots.v1`, as @grpc/proto-loader makes them of
 * integrations/containerd/snapshots.proto. Fields that a peer left out have their default.
 */

/** `Kind` of the API. */
export const KIND = { view: 1, active: 2, committed: 3 } as const;

export interface Timestamp {
  readonly seconds: number;
  readonly nanos: number;
}

export type Labels = Readonly<Record<string, string>>;

export interface Info {
  readonly name: string;
  readonly parent: string;
  readonly kind: number;
  readonly created_at: Timestamp | null;
  readonly updated_at: Timestamp | null;
  readonly labels: Labels;
}

export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

export interface KeyRequest {
  readonly key: string;
}

/** Of Prepare and View. */
export interface PrepareRequest extends KeyRequest {
  readonly parent: string;
  readonly labels: Labels;
}

export interface CommitRequest extends KeyRequest {
  readonly name: string;
  readonly labels: Labels;
}

export interface UpdateRequest {
  readonly info: Info | null;
  readonly update_mask: { readonly paths: readonly string[] } | null;
}

export interface ListRequest {
  readonly filters: readonly string[];
}

export interface MountsResponse {
  readonly mounts: readonly Mount[];
}

export interface InfoResponse {
  readonly info: Info;
}

export interface ListResponse {
  readonly info: readonly Info[];
}

export interface UsageResponse {
  readonly size: number;
  readonly inodes: number;
}

export type Empty = Readonly<Record<string, never>>;
