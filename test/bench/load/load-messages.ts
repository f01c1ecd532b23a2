import type { WorkloadName } from '../workloads.ts';
import type { DriverSpec } from './driver.ts';

/*
 * What the benchmark and a load process say to each other. Every load process takes the same messages, so that the
 * benchmark treats all systems alike:
 *
 *   benchmark → process: Command            process → benchmark: Reply, one for each command, in order
 */

export type Command =
  /** Opens connections, makes tenants and seeds them. */
  | { readonly do: 'set-up' }
  /** Warms up, then measures; callers continue in between, so the measured time has no warm-up in it. */
  | {
      readonly do: 'run';
      /** When, by Date.now(): several processes begin together, and what one does while others measure counts. */
      readonly beginAt: number;
      readonly warmupMs: number;
      readonly measureMs: number;
      /** In place of the scenario's, where the process has callers. */
      readonly callers?: number | undefined;
      /** Processes whose CPU time belongs to the system under test, by role. */
      readonly pids: Readonly<Record<string, number>>;
    }
  /** Closes everything; the process ends. */
  | { readonly do: 'close' };

export type Reply =
  | { readonly ok: true; readonly run?: LoadRun | undefined; readonly proof?: string | undefined }
  | { readonly ok: false; readonly error: string };

/** Result of one run. */
export interface LoadRun {
  /** Operations answered in the measured time. */
  readonly operations: number;
  /** Rows that they wrote. */
  readonly rows: number;
  readonly elapsedMs: number;
  /** Rows written from beginning to end, warm-up and last answers included: what the check must find. */
  readonly allRows: number;
  /** See Latencies.toPairs. */
  readonly latencies: readonly number[];
  /** CPU seconds in the measured time, by role; `client` is the load process itself. */
  readonly cpuSeconds: Readonly<Record<string, number>>;
  /** Operations that failed where that is part of the picture (SQLITE_BUSY among processes); else a run stops. */
  readonly refused?: number | undefined;
}

/** How callers choose their tenants. */
export type TenantChoice =
  /** Each has one of its own, in turn. */
  | 'own'
  /** For each operation, by popularity. */
  | 'zipf'
  /** For each operation, the next one: all callers together go through all tenants again and again. */
  | 'turns'
  /** For each operation, each with the same chance. */
  | 'uniform';

/** What a load process does; its first argument, as JSON. */
export interface LoadSpec {
  readonly driver: DriverSpec;
  readonly workload: WorkloadName;
  readonly schema: 'sqlite' | 'postgres';
  readonly tenants: readonly string[];
  readonly callers: number;
  readonly choice: TenantChoice;
  readonly seed: number;
}
