import { KanbanStore, migrate } from '@onewriter/kanban';
import type { Onewriter, Receipt } from '@onewriter/sdk';
import { applyOperation, enqueueOperationActivity } from './apply-operation.ts';
import type { Operation } from './operation.ts';
import { generateWorkload, type WorkloadOptions } from './workload.ts';

/** A load: the workload of one actor, on each tenant with a seed of its own. */
export interface LoadOptions extends Omit<WorkloadOptions, 'seed'> {
  readonly tenants: readonly string[];
  /** Seed of the first tenant; the next ones count on, see {@link workloadOf}. */
  readonly seed: number;
  /** Operations of one tenant that are sent without waiting for each other. */
  readonly pipeline: number;
}

/** What a load did. */
export interface LoadReport {
  readonly actor: string;
  readonly operations: number;
  readonly elapsedMs: number;
  /** By tenant, by card: the ticket number the writer gave. */
  readonly tickets: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** The operations of a load on its tenant number `index`. */
export function workloadOf(options: Omit<LoadOptions, 'tenants' | 'pipeline'>, index: number) {
  return generateWorkload({ ...options, seed: options.seed + index });
}

/**
 * Runs the load on all tenants at once. On each tenant the operations are sent in order, up to `pipeline` of them
 * without waiting: what an operation builds on (the card it edits) may still be on its way, which is right exactly
 * if the writes of one client are applied in the order they were sent. Only what reads first waits for all before.
 *
 * @throws the first error of any operation
 */
export async function runLoad(onewriter: Onewriter, options: LoadOptions): Promise<LoadReport> {
  const startedMs = performance.now();
  let operations = 0;
  const entries = await Promise.all(
    options.tenants.map(async (tenantId, index) => {
      const tenant = onewriter.tenant(tenantId);
      await migrate(tenant);
      const tickets = await runOnTenant(
        new KanbanStore(tenant),
        workloadOf(options, index),
        options.pipeline,
      );
      operations += tickets.operations;
      return [tenantId, tickets.byCard] as const;
    }),
  );
  const elapsedMs = Math.round(performance.now() - startedMs);
  return { actor: options.actor, operations, elapsedMs, tickets: Object.fromEntries(entries) };
}

async function runOnTenant(store: KanbanStore, workload: Iterable<Operation>, pipeline: number) {
  const byCard: Record<string, number> = {};
  let operations = 0;
  let outstanding: Promise<unknown>[] = [];
  let lastLine: Promise<Receipt> | undefined;
  const settle = async () => {
    const settled = await Promise.allSettled(outstanding);
    outstanding = [];
    const failure = settled.find(end => end.status === 'rejected');
    if (failure) throw failure.reason;
  };
  for (const operation of workload) {
    if (readsFirst(operation) || outstanding.length >= 2 * pipeline) await settle();
    const applied = applyOperation(store, operation).then(result => {
      if (operation.kind === 'create-card') byCard[operation.card.id] = result.ticket!;
    });
    lastLine = enqueueOperationActivity(store, operation);
    outstanding.push(applied, lastLine);
    if (readsFirst(operation)) await settle();
    operations++;
  }
  await settle();
  // The log is written in order: with its last line all of it is committed.
  await (await lastLine)?.committed();
  return { byCard, operations };
}

/** Whether the store looks at the board before it writes, so that it must see all that was sent. */
function readsFirst({ kind }: Operation): boolean {
  return kind === 'move-card';
}
