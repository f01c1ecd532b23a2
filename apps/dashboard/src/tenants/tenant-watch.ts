import { setTimeout as pause } from 'node:timers/promises';
import { OnewriterError } from '@onewriter/protocol';
import type { Letter, LetterBox } from '@onewriter/runtime/dead-letters';
import { readQueueFacts } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { DashboardGateway, GatewayCall, TenantInfo } from '../dashboard-gateway.ts';
import type { StatusWatch } from '../live/status-watch.ts';
import type { TenantView } from '../views/tenant.ts';
import { type LedgerFacts, readLedgerFacts } from './ledger-facts.ts';
import { readQueuedJobs } from './queued-jobs.ts';
import { SizeHistory } from './size-history.ts';

/** Settings of {@link TenantWatch}. */
export interface TenantWatchOptions {
  readonly redis: Redis;
  readonly group: string;
  readonly gateway: DashboardGateway;
  readonly letters: LetterBox;
  readonly watch: StatusWatch;
}

const EVERY_MS = 1_000;
/** The ledger is asked less often: it is three reads of the file. */
const LEDGER_EVERY = 3;
const MAX_JOBS = 10;
/** The newest letters of all tenants are looked through for those of one. */
const MAX_LETTERS = 200;
const MAX_SHOWN_LETTERS = 20;

interface FileFacts {
  readonly info: TenantInfo | undefined;
  readonly ledger: LedgerFacts | undefined;
  readonly problem: string | undefined;
}

/** Gathers what is known of one tenant: from Redis, the brokers' status, and the gateway. */
export class TenantWatch {
  readonly #options: TenantWatchOptions;
  readonly #sizes = new SizeHistory();

  constructor(options: TenantWatchOptions) {
    this.#options = options;
  }

  /**
   * What is known now.
   * @throws OnewriterError TENANT_NOT_FOUND where neither Redis nor the gateway know it; Error of Redis
   */
  async view(tenant: string, call: GatewayCall): Promise<TenantView> {
    const view = await this.#gather(
      tenant,
      await this.#readFile(tenant, call),
      await this.#readLetters(tenant),
    );
    const { facts, info, gatewayProblem } = view;
    const known =
      info !== undefined || facts.lastActivity !== null || facts.waitingJobs + facts.activeJobs > 0;
    if (known || gatewayProblem !== undefined) return view;
    throw new OnewriterError('TENANT_NOT_FOUND', `There is no tenant ${tenant}.`, { tenant });
  }

  /** The same again and again, until the signal fires. */
  async *follow(tenant: string, call: GatewayCall, signal: AbortSignal): AsyncGenerator<TenantView> {
    let file: FileFacts = { info: undefined, ledger: undefined, problem: undefined };
    let letters: readonly Letter[] = [];
    for (let turn = 0; !signal.aborted; turn++) {
      try {
        if (turn % LEDGER_EVERY === 0) {
          [file, letters] = await Promise.all([
            this.#readFile(tenant, { ...call, signal }),
            this.#readLetters(tenant),
          ]);
        }
        yield await this.#gather(tenant, file, letters);
      } catch {
        // Redis is away: the page says that it is not live, and resumes when Redis is back
      }
      await pause(EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  async #gather(tenant: string, file: FileFacts, letters: readonly Letter[]): Promise<TenantView> {
    const { redis, group, watch } = this.#options;
    const [[facts], jobs] = await Promise.all([
      readQueueFacts(redis, group, [tenant]),
      readQueuedJobs(redis, group, tenant, MAX_JOBS),
    ]);
    return {
      tenant,
      now: Date.now(),
      facts: facts!,
      jobs,
      letters,
      status: watch.moment.look.group?.status,
      info: file.info,
      ledger: file.ledger,
      sizes: this.#sizes.columns(tenant),
      gatewayProblem: file.problem,
    };
  }

  async #readFile(tenant: string, call: GatewayCall): Promise<FileFacts> {
    let info: TenantInfo | undefined;
    try {
      info = await this.#options.gateway.info(tenant, call);
      const { bytes, walBytes } = info;
      if (bytes !== null) this.#sizes.add(tenant, { bytes, walBytes: walBytes ?? 0 });
      const ledger = bytes === null ? undefined : await readLedgerFacts(this.#options.gateway, tenant, call);
      return { info, ledger, problem: undefined };
    } catch (error) {
      if (!(error instanceof OnewriterError)) throw error;
      const missing = error.code === 'TENANT_NOT_FOUND';
      return { info, ledger: undefined, problem: missing ? undefined : error.message };
    }
  }

  async #readLetters(tenant: string): Promise<Letter[]> {
    const { letters } = this.#options;
    const found: Letter[] = [];
    for await (const letter of letters.read(await letters.ids({ count: MAX_LETTERS }))) {
      if (letter.content?.tenant === tenant) found.push(letter);
      if (found.length === MAX_SHOWN_LETTERS) break;
    }
    return found;
  }
}
