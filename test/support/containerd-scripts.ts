import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeScripts } from './runtime-scripts.js';
import type { Scratch } from './scratch.js';
import type { TestStore } from './test-store.js';

/** What containerd is told: nothing of the host's own containerd is touched. */
function configuration(folder: string): string {
  return `version = 2
root = "${folder}/root"
state = "/run/containerd-test/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "${folder}/containerd.sock"
[ttrpc]
  address = "${folder}/containerd.sock.ttrpc"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10ms"
  schedule_delay = "0ms"
[proxy_plugins.templatefs]
  type = "snapshot"
  address = "${folder}/snapshotter.sock"
`;
}

/** Scripts in which a containerd of their own and our snapshotter run. Images are archives that `ctr images import` takes. */
export function containerdScripts(scratch: Scratch, store: TestStore): RuntimeScripts {
  const folder = scratch.makeFolder('containerd');
  const config = join(folder, 'config.toml');
  writeFileSync(config, configuration(folder));
  return new RuntimeScripts(scratch, store, `
      export CONTAINERD_ADDRESS='${folder}/containerd.sock' CONTAINERD_SNAPSHOTTER=templatefs
      run_folder='${folder}'
      start_containerd() { containerd --config '${config}' >> $run_folder/containerd.log 2>&1 & containerd_pid=$!; until_true 'ctr version'; }
      start_snapshotter() {
        : > $run_folder/snapshotter.log
        templatefs snapshotter --address $run_folder/snapshotter.sock >> $run_folder/snapshotter.log 2>&1 & snapshotter_pid=$!
        until_true "grep -q 'serving containerd' $run_folder/snapshotter.log"
      }
      kill_and_wait() { kill -$1 $2 2>/dev/null || :; wait $2 2>/dev/null || :; }
      start() { start_snapshotter; start_containerd; }
      ctr_run() { ctr run --rm --snapshotter templatefs "$@" < /dev/null; }
      # A collection of containerd's own; one that met a snapshotter that was just killed is not repeated by itself, and looks only at
      # snapshotters of which something was removed since.
      collect() {
        ctr snapshots --snapshotter templatefs prepare probe || :
        ctr snapshots --snapshotter templatefs rm probe || :
        ctr leases rm --sync "$(ctr leases create)"
      }
      # Until neither containerd nor the store knows of a snapshot.
      all_gone() { collect; [ -z "$(ctr snapshots --snapshotter templatefs ls | tail -n +2)" ] && ! ls $TEMPLATEFS_STORE/private $TEMPLATEFS_STORE/templates | grep -q 'containerd-[0-9]'; }
      # Nothing refers to these: a collection may have come first.
      remove_snapshot() { ctr snapshots --snapshotter templatefs rm $1; ! ctr snapshots --snapshotter templatefs info $1; }
      until_gone() {
        ( until_true all_gone ) || {
          { collect; ctr snapshots --snapshotter templatefs ls; ls $TEMPLATEFS_STORE/private $TEMPLATEFS_STORE/templates; tail -n 20 $run_folder/snapshotter.log $run_folder/containerd.log; } >&2
          exit 9
        }
      }
      stop_all() {
        for id in $(ctr tasks ls -q 2>/dev/null); do ctr tasks kill -s KILL $id || :; ctr tasks delete --force $id || :; done
        kill_and_wait TERM \${containerd_pid:-0}
        kill_and_wait TERM \${snapshotter_pid:-0}
        for container in $(ls $TEMPLATEFS_STORE/run | grep '^containerd-'); do templatefs umount $container --force || :; done
      }
      `);
}
