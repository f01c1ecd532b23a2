/** What to do first, by alert; the operations guide has a section of each name. */
const NEXT: Readonly<Record<string, string>> = {
  OnewriterTenantParked:
    'Do what the message says; the broker tries again, unless it paused the tenant. A damaged file: onewriter tenants check, then onewriter restore --replace.',
  OnewriterTenantPaused: 'Resume it when the reason is gone: onewriter tenants resume <tenant>.',
  OnewriterWalHeld:
    'End that reader, or its transaction: kill it if it has no owner. Run long reports on a backup.',
  OnewriterLaneHeld:
    'See what it writes: onewriter tail <tenant>. The watchdog stops a statement that never ends.',
  OnewriterApartHeld: 'See who sends costly writes: onewriter dead-letters list. Pause its tenant.',
  OnewriterTooManyReplacements:
    'See who sends costly writes: onewriter dead-letters list. Pause their tenants.',
  OnewriterWritesDelayed:
    'Look at the queue and the statements of that tenant: onewriter tenants info, onewriter tail.',
  OnewriterQueueDeep:
    'Check whether it is paused or parked (onewriter tenants info), or written faster than applied.',
  OnewriterDeadLetters: 'onewriter dead-letters list, then retry or drop them.',
  OnewriterCommitsSlow: 'Look at the disk: iostat -x 1, other load on it, a failing drive (dmesg).',
  OnewriterTooFewOpenFiles:
    'Raise ulimit -n (LimitNOFILE) or the memory of the broker, or ONEWRITER_MAX_OPEN_TENANTS, and restart it.',
  OnewriterEventLoopSlow: 'Give the broker more CPU, or see what else runs on the machine.',
  OnewriterReplicaStoreDown: 'onewriter replica status says what the store answers.',
  OnewriterReplicaLag: 'onewriter replica status says who is behind.',
  OnewriterReplicaBuffer: 'Bring the store back, or raise ONEWRITER_REPLICA_BUFFER_BYTES.',
  OnewriterReplicaDamaged: 'onewriter replica status names the tenants; find out what changes the store.',
  OnewriterReplicaGap: 'onewriter history <tenant> shows the gap; the log of the broker says why.',
  OnewriterWakesFail: 'onewriter replica status says what the store answers; then onewriter wake <tenant>.',
  OnewriterMixedVersions: 'Finish the upgrade: all processes should be of one version.',
  OnewriterNoLeader: '`onewriter doctor` says why.',
  OnewriterRedisEvicts: 'redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.',
  OnewriterRedisNotDurable: 'redis-cli CONFIG SET appendonly yes, and look at the disk of Redis.',
  OnewriterRedisMemory: 'Raise maxmemory, or see what is not applied: onewriter tenants.',
  OnewriterDiskFull: 'Free space; `onewriter check --all` lists what restores have kept.',
};

export function nextForAlert(alert: string): string {
  return NEXT[alert] ?? `docs/operations.md has a section ${alert}.`;
}
