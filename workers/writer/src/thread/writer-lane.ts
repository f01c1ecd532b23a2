import assert from 'node:assert/strict';
import {
  isFollowUpJobId,
  isOnewriterError,
  isOutOfDescriptors,
  isReadJobId,
  type OnewriterError,
  shortIdentity,
  toWireError,
} from '@onewriter/protocol';
import { applyBatch, BatchFailed, type BatchResult } from '../batch/apply-batch.ts';
import type { ApplyBatchOptions } from '../batch/apply-options.ts';
import { isSystemError, translateError } from '../batch/sqlite-errors.ts';
import { CaptureSink } from '../capture/capture-sink.ts';
import { type FreeSpace, LogRoom } from '../file/log-room.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { OwnerReads } from '../reads/owner-reads.ts';
import { hasProgress } from '../steps/steps-progress.ts';
import { readMappings } from './commit-counter.ts';
import type {
  ApplyOutcome,
  ApplyTask,
  CloseOutcome,
  CloseTask,
  ConnectTask,
  GroupItemOutcome,
  GroupOutcome,
  GroupTask,
  LaneOutcome,
  LaneTask,
  RefusedOutcome,
  WriterOptions,
} from './lane-task.ts';
import { Progress } from './progress.ts';
import { RunningNote } from './running-note.ts';
import { TenantRegistry } from './tenant-registry.ts';
import { FILE_CHANGED } from './withheld-tenant.ts';

/** Codes after which the connection is unharmed. */
const HARMLESS: ReadonlySet<string> = new Set(['DATABASE_BUSY', 'DATABASE_FULL', 'TOO_MANY_OPEN_FILES']);
/** Time between two tries to cut a log that a reader holds. */
const CUT_RETRY_MS = 1_000;
/** Delay before the commit counters of newly opened files are found, with one look at the process's mappings. */
const FIND_COUNTERS_MS = 200;
/** A look lists all files that are open: where thousands are, the thread must not spend its time on looks. */
const MAX_SHARE_OF_LOOKS = 1 / 50;

/** Data of a batch that fills a good part of its connection's page cache. */
const LARGE_BATCH_LENGTH = 512 * 1024;

/**
 * All that one writer thread does: a task in, an outcome out, one after the other. A tenant's fault is an outcome; an error
 * that is thrown is a fault of the thread.
 */
export class WriterLane {
  readonly #registry: TenantRegistry;
  readonly #progress: Progress;
  readonly #batchOptions: ApplyBatchOptions;
  readonly #note: RunningNote | undefined;
  readonly #room: LogRoom;
  readonly #capture: CaptureSink | undefined;
  /** Tenants whose log is to be cut. */
  readonly #large = new Set<TenantDatabase>();
  #findsCounters = false;
  /** How long the last look at the mappings took. */
  #lookMs = 0;
  /** Time spent on checkpoints since it was last reported. */
  #checkpointMs = 0;

  /** @param freeSpace reads the disk space of a file; for tests */
  constructor(options: WriterOptions, freeSpace?: FreeSpace) {
    this.#room = new LogRoom(freeSpace);
    this.#capture = options.replicated ? new CaptureSink() : undefined;
    this.#registry = new TenantRegistry(options, this.#capture);
    this.#progress = new Progress(options.progress);
    this.#note = options.runningNote === undefined ? undefined : new RunningNote(options.runningNote);
    const { dataDirId, formerDataDirId = dataDirId } = options;
    const dirs = dataDirId
      ? new Set([dataDirId, formerDataDirId!].map(id => shortIdentity({ id })))
      : undefined;
    this.#batchOptions = Object.freeze({ progress: this.#progress, reads: new OwnerReads(), dirs });
  }

  /** Runs one task. @param post receives the outcomes of a group, each as soon as it is known. */
  run(task: ApplyTask): ApplyOutcome;
  run(task: CloseTask): CloseOutcome;
  run(task: LaneTask, post: (outcome: GroupItemOutcome) => void): LaneOutcome;
  run(task: LaneTask, post: (outcome: GroupItemOutcome) => void = () => {}): LaneOutcome {
    switch (task.kind) {
      case 'apply':
        return this.#applyWatched(task);
      case 'group':
        return this.#runGroup(task, post);
      case 'close':
        return this.#close(task);
      case 'rollback': {
        const database = this.#registry.get(task.tenant);
        if (database?.transaction?.id === task.transaction) database.rollback();
        return { kind: 'closed', tenants: [] };
      }
      case 'distrust':
        this.#registry.abandon(task.tenant, true, false);
        return { kind: 'closed', tenants: [task.tenant] };
      case 'connect':
        this.#connect(task);
        return { kind: 'closed', tenants: [] };
    }
  }

  #connect(task: ConnectTask): void {
    assert(this.#capture !== undefined, 'a thread without replication was connected to a replicator');
    const isAgain = this.#capture.isConnected;
    this.#capture.connect(task);
    if (!isAgain) return;
    for (const { db, capture } of this.#registry.databases()) if (db.open) capture?.sendAgain();
  }

  #close(task: CloseTask): CloseOutcome {
    if (task.tenant === null) this.#note?.remove();
    const { tenants, changed, left } =
      task.tenant === null ? this.#registry.closeAll(task.withinMs) : this.#registry.close(task.tenant);
    const findings = changed.map(({ tenant, error }) => ({ tenant, error: toWireError(error) }));
    return {
      ...{ kind: 'closed', tenants },
      ...(left > 0 ? { left } : {}),
      ...(findings.length > 0 ? { changed: findings } : {}),
    };
  }

  #runGroup({ id, tasks }: GroupTask, post: (outcome: GroupItemOutcome) => void): GroupOutcome {
    let item = 0;
    for (; item < tasks.length && this.#progress.claim(item); item++) {
      post({ group: id, item, outcome: this.#applyWatched(tasks[item]!) });
    }
    return { kind: 'group', started: item };
  }

  #applyWatched(task: ApplyTask): ApplyOutcome {
    this.#progress.taskBegins();
    this.#note?.begin(task.jobs);
    try {
      const outcome = this.#apply(task);
      this.#note?.clear();
      return outcome;
    } finally {
      this.#progress.taskEnds();
    }
  }

  /** Checkpoints and closes everything. Idempotent. */
  close(): void {
    this.#registry.closeAll();
  }

  #apply(task: ApplyTask): ApplyOutcome {
    const startedMs = performance.now();
    const evicted: string[] = [];
    const writes = task.jobs.some(({ id }) => !isReadJobId(id));
    let database: TenantDatabase;
    let openMs: number;
    try {
      // Without writes only a look: a file that was moved away must not be replaced by an empty one.
      if (task.afterIoError) this.#registry.distrust(task.tenant);
      database = this.#registry.open(task.tenant, task.epoch, evicted, writes);
      database.assertInPlace();
      if (database.transaction !== undefined && !goesOn(task)) database.rollback();
      // Where each write is a transaction of its own, one flush for all of them comes after the last.
      database.flushAtCommit(task.flush !== 'later' && !database.schema.look().deferredKeys);
      openMs = performance.now() - startedMs;
      this.#checkpoint(database);
      if (writes) this.#room.assertRoom(database);
    } catch (thrown) {
      const error = this.#giveUp(task.tenant, thrown);
      // The ledger could not be asked whether an earlier delivery committed, unless there is none.
      const uncertain = error.code !== 'TENANT_NOT_FOUND' && error.code !== 'INVALID_TENANT';
      return { ...refused(error, uncertain, evicted), begun: false };
    }
    try {
      this.#progress.atFiles(false);
      if (database.capture !== undefined) database.capture.isAwaited = task.capture === true;
      const result = applyBatch(database, task.jobs, this.#optionsOf(task));
      this.#progress.atFiles(true);
      if (isLarge(task)) database.shrinkCache();
      const outcome = this.#applied(database, result, openMs, evicted);
      if (task.capture === true) database.capture?.send();
      return outcome;
    } catch (thrown) {
      if (!(thrown instanceof BatchFailed)) {
        const error = this.#giveUp(task.tenant, thrown);
        if (!isFileChanged(thrown) && !isSystemError(thrown)) throw thrown;
        // Its commits may be lost with the log.
        return refused(error, true, evicted);
      }
      const error = this.#giveUp(task.tenant, thrown.cause);
      if (!thrown.uncertain || HARMLESS.has(error.code)) return refused(error, thrown.uncertain, evicted);
      return this.#recall(task, error, evicted);
    }
  }

  #optionsOf({ transaction, reads: allowance }: ApplyTask): ApplyBatchOptions {
    if (transaction === undefined) {
      return allowance === undefined ? this.#batchOptions : { ...this.#batchOptions, allowance };
    }
    return { ...this.#batchOptions, transaction, full: this.#registry.isFullOfTransactions };
  }

  #applied(
    database: TenantDatabase,
    result: BatchResult,
    openMs: number,
    evicted: readonly string[],
  ): ApplyOutcome {
    const { checkpoints, incarnation } = database;
    const checkpointMs = this.#checkpointMs;
    this.#checkpointMs = 0;
    const { open } = result;
    // Inside a transaction a connection cannot read the state of its log.
    if (open === undefined) database.lookAtLog();
    const { walBytes } = checkpoints;
    // After the outcome is posted, if the thread's event loop turns before the next task; otherwise a checkpoint runs with that.
    if (open !== undefined) {
      // No commit, or the commit that ends this transaction flushes it.
      const flushes = result.stats.commits > 0 || result.jobs.some(job => job.duplicate);
      return {
        kind: 'applied',
        jobs: result.jobs,
        incarnation,
        unflushed: flushes ? database.unflushed : undefined,
        stats: { ...result.stats, openMs, checkpointMs, walBytes },
        open,
        evicted,
      };
    }
    if (database.watch.wantsCounter) this.#findCounters();
    // Before a caller learns of the commit, so that readers see it then.
    if (result.stats.commits > 0 && database.renewIndex()) {
      // The next task opens it again.
    } else if (checkpoints.due) setImmediate(() => this.#checkpointIfOpen(database));
    else if (database.walSpace.isScarce(walBytes)) setImmediate(() => this.#extendIfOpen(database));
    return {
      kind: 'applied',
      jobs: result.jobs,
      incarnation,
      unflushed: database.unflushed,
      stats: { ...result.stats, openMs, checkpointMs, walBytes },
      evicted,
    };
  }

  /**
   * Opens the file again, which after an I/O error also flushes or discards the pages in the WAL, and asks its ledger: a task
   * that is completely in it is applied, one that is not in it at all is certainly refused.
   */
  #recall(task: ApplyTask, error: OnewriterError, evicted: string[]): ApplyOutcome {
    try {
      const database = this.#registry.open(task.tenant, task.epoch, evicted);
      // No ledger has reads: they are run again.
      const rows = task.jobs.filter(({ id }) => !isReadJobId(id)).map(job => database.ledger.find(job.id));
      if (rows.every(row => row?.next_op === null)) {
        return this.#applied(database, applyBatch(database, task.jobs, this.#optionsOf(task)), 0, evicted);
      }
      return refused(
        error,
        rows.some(row => row !== undefined) || task.jobs.some(job => hasProgress(database.db, job.id)),
        evicted,
      );
    } catch (thrown) {
      this.#giveUp(task.tenant, thrown instanceof BatchFailed ? thrown.cause : thrown);
      return refused(error, true, evicted);
    }
  }

  /** Closes the tenant's connection unless the error is harmless. */
  #giveUp(tenant: string, thrown: unknown): OnewriterError {
    const error = translateError(thrown);
    // The connection stays open until all is saved.
    if (error.details['reason'] === FILE_CHANGED) return this.#registry.secure(tenant, false) ?? error;
    if (HARMLESS.has(error.code)) return error;
    return (
      this.#registry.abandon(tenant, error.code === 'DATABASE_IO_ERROR', error.code === 'FENCED') ?? error
    );
  }

  #checkpoint(database: TenantDatabase, large = false): void {
    if (!(large || database.checkpoints.due) || database.transaction !== undefined) return;
    const startedMs = performance.now();
    try {
      // It would write the log back to another file.
      database.assertInPlace();
      // What is written back may be overwritten.
      if (database.capture?.prepareWriteBack() === false) return;
      database.checkpoints.run();
      database.watch.noteCheckpoint();
      if (!database.cutLog() && database.checkpoints.isLarge) this.#checkpointLater(database);
    } finally {
      this.#checkpointMs += performance.now() - startedMs;
    }
  }

  /** Cuts a log that a reader holds when the reader is gone, also if there are no more writes. */
  #checkpointLater(database: TenantDatabase): void {
    if (this.#large.has(database)) return;
    this.#large.add(database);
    setTimeout(() => {
      this.#large.delete(database);
      this.#checkpointIfOpen(database, true);
    }, CUT_RETRY_MS).unref();
  }

  #findCounters(): void {
    if (this.#findsCounters) return;
    this.#findsCounters = true;
    setTimeout(
      () => {
        this.#findsCounters = false;
        const startedMs = performance.now();
        try {
          const mappings = readMappings();
          this.#lookMs = performance.now() - startedMs;
          for (const { db, watch } of this.#registry.databases()) if (db.open) watch.findCounter(mappings);
        } catch (error) {
          if (!isOutOfDescriptors(error) && !isSystemError(error)) throw error; // tried again after the next batch
        }
      },
      Math.max(FIND_COUNTERS_MS, this.#lookMs / MAX_SHARE_OF_LOOKS),
    ).unref();
  }

  #extendIfOpen(database: TenantDatabase): void {
    if (this.#registry.get(database.tenant) !== database || !database.db.open) return;
    try {
      // The path may lead to another log.
      if (database.watch.look() !== undefined) return;
      database.walSpace.extend();
      database.watch.noteLogExtended();
    } catch (thrown) {
      // As below.
      this.#giveUp(database.tenant, thrown);
    }
  }

  /** @param large it is tried because the log is large, however little was written since */
  #checkpointIfOpen(database: TenantDatabase, large = false): void {
    if (this.#registry.get(database.tenant) !== database || !database.db.open) return;
    try {
      if (database.renewIndex()) return;
      this.#checkpoint(database, large);
      // A transaction was open, which may end without a commit.
      if (large && database.checkpoints.isLarge) this.#checkpointLater(database);
    } catch (thrown) {
      // The next task opens the file again, and reports what is wrong with it.
      this.#giveUp(database.tenant, thrown);
    }
  }
}

function isFileChanged(thrown: unknown): boolean {
  return isOnewriterError(thrown, 'TENANT_UNAVAILABLE') && thrown.details['reason'] === FILE_CHANGED;
}

/** Whether a task may belong to the open transaction. */
function goesOn({ transaction, jobs }: ApplyTask): boolean {
  return transaction !== undefined && jobs[0] !== undefined && isFollowUpJobId(jobs[0].id);
}

function refused(error: OnewriterError, uncertain: boolean, evicted: readonly string[]): RefusedOutcome {
  return { kind: 'refused', error: toWireError(error), uncertain, begun: true, evicted };
}

function isLarge({ jobs }: ApplyTask): boolean {
  return jobs.reduce((sum, { data }) => sum + data.length, 0) > LARGE_BATCH_LENGTH;
}
