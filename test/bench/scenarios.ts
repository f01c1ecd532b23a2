import type { TenantChoice } from './load/load-messages.ts';
import type { WorkloadName } from './workloads.ts';

/** The contestants. */
export type ContestantName =
  | 'onewriter'
  | 'owner'
  | 'beside-owner'
  | 'gateway'
  | 'proxy'
  | 'sqlite-1'
  | 'sqlite-100'
  | 'sqlite-4-processes'
  | 'postgres'
  | 'bullmq';

/** How reports call them. */
export const CONTESTANT_LABELS: Readonly<Record<ContestantName, string>> = {
  onewriter: 'Onewriter (SDK)',
  owner: 'Onewriter (SDK, reads by the owner)',
  'beside-owner': 'Onewriter (SDK), beside as many callers that read through the owner',
  gateway: 'Onewriter (gateway)',
  proxy: 'single-pod proxy',
  'sqlite-1': 'SQLite in process, 1 per commit',
  'sqlite-100': 'SQLite in process, 100 per commit',
  'sqlite-4-processes': '4 processes on one file',
  postgres: 'PostgreSQL',
  bullmq: 'BullMQ, plain',
};

/** One load, and the contestants that take turns at it. */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  /** `get`: reads of one row through the SDK against better-sqlite3 bare, without the load generator. */
  readonly workload: WorkloadName | 'get';
  readonly tenants: number;
  readonly callers: number;
  readonly choice?: TenantChoice | undefined;
  readonly contestants: readonly ContestantName[];
}

const SQL_PEERS = ['onewriter', 'proxy', 'postgres'] as const;
const OURS_AND_PROXY = ['onewriter', 'proxy'] as const;
const GATEWAY_AND_PROXY = ['gateway', 'proxy'] as const;

/** Everything that is measured, in this order. */
export const SCENARIOS: readonly Scenario[] = [
  {
    ...{ id: 'insert-1', title: 'insert, one tenant, 1 caller', workload: 'insert', tenants: 1, callers: 1 },
    contestants: [...SQL_PEERS, 'bullmq'],
  },
  {
    ...{ id: 'insert-8', title: 'insert, one tenant, 8 callers', workload: 'insert', tenants: 1, callers: 8 },
    contestants: [...SQL_PEERS, 'sqlite-4-processes'],
  },
  {
    ...{
      id: 'insert-64',
      title: 'insert, one tenant, 64 callers',
      workload: 'insert',
      tenants: 1,
      callers: 64,
    },
    contestants: [...SQL_PEERS, 'bullmq'],
  },
  {
    ...{ id: 'insert-256', title: 'insert, one tenant, 256 callers', workload: 'insert' },
    ...{ tenants: 1, callers: 256, contestants: [...SQL_PEERS, 'sqlite-1', 'sqlite-100'] },
  },
  {
    ...{ id: 'tenants-100x4', title: 'insert, 100 tenants x 4 callers', workload: 'insert' },
    ...{ tenants: 100, callers: 400, contestants: SQL_PEERS },
  },
  {
    ...{ id: 'tenants-400x1', title: 'insert, 400 tenants x 1 caller', workload: 'insert' },
    ...{ tenants: 400, callers: 400, contestants: OURS_AND_PROXY },
  },
  {
    ...{
      id: 'tenants-zipf',
      title: 'insert, 2,000 tenants by popularity (Zipf), 256 callers',
      workload: 'insert',
    },
    ...{ tenants: 2_000, callers: 256, choice: 'zipf', contestants: OURS_AND_PROXY },
  },
  {
    ...{
      id: 'kanban-drag',
      title: 'kanban drag: 80 updates in a transaction, 16 callers',
      workload: 'kanban-drag',
    },
    ...{ tenants: 1, callers: 16, contestants: [...OURS_AND_PROXY, 'sqlite-1'] },
  },
  {
    ...{
      id: 'kanban-create',
      title: 'kanban create (2 reads, 2 writes), 16 callers',
      workload: 'kanban-create',
    },
    ...{ tenants: 1, callers: 16, contestants: OURS_AND_PROXY },
  },
  {
    ...{ id: 'kanban-comment', title: 'kanban comment (2 writes), 16 callers', workload: 'kanban-comment' },
    ...{ tenants: 1, callers: 16, contestants: OURS_AND_PROXY },
  },
  {
    ...{ id: 'mixed', title: '90 % reads, 10 % inserts, one tenant, 64 callers', workload: 'mixed' },
    ...{ tenants: 1, callers: 64, contestants: SQL_PEERS },
  },
  {
    ...{ id: 'insert-1k', title: 'insert of 1 KiB, one tenant, 64 callers', workload: 'insert-1k' },
    ...{ tenants: 1, callers: 64, contestants: OURS_AND_PROXY },
  },
  {
    ...{ id: 'insert-64k', title: 'insert of 64 KiB, one tenant, 16 callers', workload: 'insert-64k' },
    ...{ tenants: 1, callers: 16, contestants: OURS_AND_PROXY },
  },
  {
    ...{ id: 'get', title: 'get() by key, one after the other', workload: 'get', tenants: 1, callers: 1 },
    contestants: ['onewriter', 'sqlite-1'],
  },
  {
    ...{ id: 'gateway-insert', title: 'POST /query insert, 64 connections, one tenant', workload: 'insert' },
    ...{ tenants: 1, callers: 64, contestants: GATEWAY_AND_PROXY },
  },
  {
    ...{ id: 'gateway-read', title: 'POST /query read by key, 64 connections, one tenant', workload: 'read' },
    ...{ tenants: 1, callers: 64, contestants: GATEWAY_AND_PROXY },
  },
  {
    ...{ id: 'owner-read', title: 'read by key through the owner, 64 callers, one tenant', workload: 'read' },
    ...{ tenants: 1, callers: 64, contestants: ['owner', 'proxy'] },
  },
  {
    ...{
      id: 'owner-mixed',
      title: '90 % reads through the owner, 10 % inserts, 64 callers',
      workload: 'mixed',
    },
    ...{ tenants: 1, callers: 64, contestants: ['owner', 'proxy'] },
  },
  {
    ...{
      id: 'owner-beside',
      title: 'insert, 64 callers, beside 64 that read another tenant through the owner',
      workload: 'insert',
    },
    ...{ tenants: 1, callers: 64, contestants: ['onewriter', 'beside-owner'] },
  },
];
