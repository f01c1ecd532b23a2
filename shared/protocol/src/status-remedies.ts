/*
 * What to do about a finding: one sentence to begin with. The operations guide has a section under the same name.
 */

/** By the name of the alert. */
const REMEDIES: Readonly<Record<string, string>> = {
  OnewriterNoLeader:
    'Start a broker, or read the log of the one that should lead: it names what it waits for. Nothing is lost: queued writes are applied when one leads.',
  OnewriterMixedVersions: 'Finish the upgrade: the brokers and this tool are of different versions.',
  OnewriterRedisDown:
    'Look whether Redis runs and is reachable: systemctl status redis, redis-cli ping. Writers get QUEUE_UNAVAILABLE until it answers; reads continue.',
  OnewriterRedisEvicts:
    'At once: redis-cli CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf.',
  OnewriterRedisNotDurable:
    'Switch the append-only file on (redis-cli CONFIG SET appendonly yes, and in redis.conf), and look at the disk of Redis where it cannot write.',
  OnewriterRedisMemory:
    'Give Redis more memory (CONFIG SET maxmemory), or drain the queues: drop dead letters that are dealt with, see who sends more than is applied.',
  OnewriterDiskFull:
    'Free space on that disk, or grow it. Until then writes fail with DATABASE_FULL; they succeed again when there is space.',
  OnewriterTenantParked:
    'Open the tenant: its page says what its error means. Damaged files are restored from a backup; a repeat offender (TENANT_PAUSED) waits until you resume it; everything else is tried again once its cause is gone.',
  OnewriterTenantPaused:
    'Resume the tenant when its work is done, or inform its callers how long it will take.',
  OnewriterWritesDelayed:
    'After a change of the leader: nothing, if it does not last. Else open the tenant: see whether it sends more than one thread applies, or one statement is slow (an index is missing); of many tenants look at CPU and disk.',
  OnewriterQueueDeep:
    'Open the tenant: at 1,000 jobs its callers are refused (TENANT_OVERLOADED). Slow statements or a burst; batch the writes or send fewer.',
  OnewriterLaneHeld:
    'A slow statement, which the watchdog ends at its limit, or a machine that lacks CPU. Other tenants use other lanes. Look at the tenant’s statements, and at what else runs on the machine.',
  OnewriterApartHeld:
    'Only tenants wait for it whose own writes were costly, or that are new while there are many of these. Look at the tenant’s dead letters; pause it if it does not stop.',
  OnewriterTooManyReplacements:
    'See in the dead letters who sends these writes, and have them stop or pause their tenants. Tenants that existed before, and sent none, are not held up.',
  OnewriterWalHeld:
    'End that process or its transaction: the log is cut afterwards. Until then reads slow down and the disk fills.',
  OnewriterCommitsSlow:
    'Look at the disk: iostat -x 1. A neighbour that writes a lot, a volume at its limit, or no local disk at all.',
  OnewriterTooFewOpenFiles:
    'Raise ulimit -n or the memory of the broker, or ONEWRITER_MAX_OPEN_TENANTS: a closed tenant costs several flushes when it is written again.',
  OnewriterReplicaStoreDown:
    'Look at the store and the way to it: rights, address, a full bucket or disk. Writes go on where they do not wait for it; what waits is stored when it is back.',
  OnewriterReplicaLag:
    'See what the store says (onewriter replica status): too slow for what is written, or a tenant whose file is being read whole.',
  OnewriterReplicaBuffer:
    'Bring the store back, or raise ONEWRITER_REPLICA_BUFFER_BYTES. Full, commits are dropped from the history, and each tenant is read whole when the store is back.',
  OnewriterReplicaGap:
    'Nothing is lost that is in the file: the tenant was read whole again. See why in the log of the broker, and whether another program writes the files.',
  OnewriterReplicaDamaged:
    'Find out what changes objects in that store: a failing disk, another program. Use another store until then; the newest state of the tenants is stored again.',
  OnewriterReplicaUnsound:
    'Back the tenant up (onewriter backup), and look closer: onewriter replica verify. If it stays unsound, set its durability to off and back: its whole file is stored again.',
  OnewriterReplicaUnverified:
    'See why in onewriter replica status: no room on the disk, a slow store, or files that are read whole all the time.',
  OnewriterReplicaCopyBehind:
    'Look at that store and the way to it: rights, address, a full bucket or disk. Nothing waits for a copy; it catches up when it can.',
  OnewriterWakesFail:
    'See what the store says: onewriter replica status, then onewriter wake <tenant>. Nothing is lost: reads and writes of these tenants wait or are refused until then.',
  OnewriterEventLoopSlow: 'The broker needs more CPU: see what else runs on the machine, raise its limit.',
  OnewriterDeadLetters: 'Read them: retry what may go through by now, drop what is dealt with.',
};

/** What to do about a finding; undefined where nothing more than its text can be said. */
export function remedyOf(alert: string): string | undefined {
  return Object.hasOwn(REMEDIES, alert) ? REMEDIES[alert] : undefined;
}
