import { MAX_NAMED_TENANTS, OPERATION_KINDS, OPERATION_STATES } from '@onewriter/operations';
import { TENANT_ID_PATTERN } from '@onewriter/protocol';
import { WireError, z } from './schemas.ts';

const tenant = z.string().regex(TENANT_ID_PATTERN);
const tenants = z
  .union([z.literal('*'), z.array(tenant).min(1).max(MAX_NAMED_TENANTS)])
  .openapi({ description: 'Names of tenants, or "*" for all, which needs a token for all.' });

const BackupRequest = z
  .object({
    kind: z.literal('backup'),
    tenants,
    verify: z
      .enum(['full', 'quick'])
      .default('full')
      .openapi({ description: 'How the copies are verified.' }),
  })
  .openapi('BackupRequest', { description: 'Copies go to backups/<tenant> in the data directory.' });

const CheckRequest = z
  .object({
    kind: z.literal('check'),
    tenants,
    quick: z
      .boolean()
      .default(false)
      .openapi({ description: 'Pages and ledger, not indexes and foreign keys.' }),
  })
  .openapi('CheckRequest');

const RestoreRequest = z
  .object({
    kind: z.literal('restore'),
    tenant,
    backup: z
      .string()
      .max(300)
      .regex(/^[a-z0-9][a-z0-9-]{0,62}\/[0-9A-Za-z][0-9A-Za-z._-]*\.db$/)
      .openapi({
        description: 'Below backups in the data directory: <tenant>/<file>.',
        example: 'acme/20261121T093000Z-c42.db',
      }),
    replace: z
      .boolean()
      .default(false)
      .openapi({ description: 'Whether a present file is put aside; it is kept beside the new one.' }),
    leavePaused: z.boolean().default(false),
  })
  .openapi('RestoreRequest');

export const StartRequest = z
  .discriminatedUnion('kind', [BackupRequest, CheckRequest, RestoreRequest])
  .openapi('StartOperation');

export const OperationShape = z
  .object({
    id: z.string(),
    kind: z.enum(OPERATION_KINDS),
    state: z.enum(OPERATION_STATES).openapi({
      description:
        'interrupted: the process that carried it out was stopped, or has not been heard of for 20 s.',
    }),
    who: z.string(),
    tenants: z.array(z.string()).nullable().openapi({ description: 'null: all, or more than 100.' }),
    detail: z.string(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    endedAt: z.string().nullable(),
    progress: z.object({
      done: z.number(),
      total: z.number().nullable(),
      unit: z.string(),
      perSecond: z.number().nullable(),
      remainingMs: z.number().nullable(),
    }),
    cancelledBy: z.string().nullable(),
    result: z.unknown(),
    error: WireError.nullable(),
    logged: z.number().openapi({ description: 'Lines that it wrote in all.' }),
  })
  .openapi('Operation');

export const OperationLog = OperationShape.extend({
  log: z.array(z.string()).openapi({ description: 'The newest lines, at most 200.' }),
}).openapi('OperationWithLog');

export const ListQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(100),
  state: z.enum(OPERATION_STATES).optional(),
});
