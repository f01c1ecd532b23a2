import { AsyncLocalStorage } from 'node:async_hooks';
import { OnewriterError } from '@onewriter/protocol';
import { appendAudit, type Logger } from '@onewriter/runtime';
import type { MiddlewareHandler } from 'hono';
import type { Redis } from 'ioredis';
import type { DashboardEnv, Operator } from '../dashboard-env.ts';

/** What can be done here that is written down. */
export type AuditAction =
  | 'tenant.pause'
  | 'tenant.set'
  | 'tenant.resume'
  | 'tenant.check'
  | 'tenant.sql'
  | 'operation.cancel'
  | 'dead-letter.retry'
  | 'dead-letter.drop';

/** Who the work under way is for: Bull Board's handlers do not hand requests on. */
const operators = new AsyncLocalStorage<Operator>();

/** Makes the operator of a request known to {@link AuditTrail.record}, however deep in the work it is called. */
export const rememberOperator: MiddlewareHandler<DashboardEnv> = (c, next) =>
  operators.run(c.get('operator'), next);

/** Writes down what people do here, with who it was. */
export class AuditTrail {
  readonly #redis: Redis;
  readonly #group: string;
  readonly #log: Logger;

  constructor(redis: Redis, group: string, log: Logger) {
    this.#redis = redis;
    this.#group = group;
    this.#log = log;
  }

  /** Does `work` and writes down how it ended. */
  async record<T>(action: AuditAction, tenant: string, detail: string, work: () => Promise<T>): Promise<T> {
    try {
      const result = await work();
      await this.#write(action, tenant, detail, 'ok');
      return result;
    } catch (error) {
      await this.#write(action, tenant, detail, error instanceof OnewriterError ? error.code : 'INTERNAL');
      throw error;
    }
  }

  async #write(action: string, tenant: string, detail: string, outcome: string): Promise<void> {
    const operator = operators.getStore();
    await appendAudit(this.#redis, this.#group, this.#log, {
      action,
      tenant,
      outcome,
      subject: operator?.subject ?? '',
      token: operator?.id ?? '',
      requestId: '',
      address: operator?.address ?? '',
      ...(detail === '' ? {} : { detail }),
    });
  }
}
