import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tenantFile } from '@onewriter/protocol';
import { openRedis } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { pauseTenant } from '@onewriter/tenants';
import { type Stack, startStack } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { writeEveryWay } from './every-write.ts';
import { addBrokenObjects, BROKEN } from './odd-file.ts';

/*
 * `onewriter check` on tenants with every kind of write behind them: it says nothing where nothing is wrong, and names each
 * damage. In the tests a short form; at length, some half an hour:
 *
 *   CHECK_TENANTS=2000 npx vitest run --project e2e test/e2e/check.e2e.test.ts
 */

const TENANTS = Number(process.env['CHECK_TENANTS'] ?? 24);
/** Tenants that are written at the same time. */
const AT_ONCE = 8;
/** Enough rows for some pages of each table. */
const MORE_ROWS = 400;

interface Finding {
  readonly level: string;
  readonly tenant: string;
  readonly check: string;
  readonly found: string;
  readonly next: string;
}

let stack: Stack;
let app: Onewriter;
let redis: Redis;
const names = Array.from({ length: TENANTS }, (_, index) => `fleet-${index + 1}`);

beforeAll(async () => {
  stack = await startStack();
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  redis = await openRedis(stack.redisUrl);
});

afterAll(async () => {
  redis?.disconnect();
  await app?.close();
  await stack?.stop();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant);

/** Closes a tenant's file. */
async function close(tenant: string): Promise<void> {
  await pauseTenant(redis, 'default', tenant, 'test');
}

/** Changes a file that no broker has open. */
function change(tenant: string, work: (db: Database.Database) => void): void {
  const db = new Database(fileOf(tenant));
  try {
    db.pragma('foreign_keys = OFF');
    work(db);
  } finally {
    db.close();
  }
}

/** The root page of a table or index, from 1. */
function rootOf(tenant: string, name: string): number {
  const db = new Database(fileOf(tenant), { readonly: true });
  try {
    return db
      .prepare<[string], number>('SELECT rootpage FROM sqlite_schema WHERE name = ?')
      .pluck()
      .get(name)!;
  } finally {
    db.close();
  }
}

const PAGE = 4096;

function changePage(tenant: string, page: number, work: (bytes: Buffer) => void): void {
  const bytes = readFileSync(fileOf(tenant));
  work(bytes.subarray((page - 1) * PAGE, page * PAGE));
  writeFileSync(fileOf(tenant), bytes);
}

/** The write-ahead log of a tenant that a broker has open. */
const logOf = (tenant: string) => readFileSync(`${fileOf(tenant)}-wal`);

interface Damage {
  readonly plant: (tenant: string, other: string) => void;
  readonly level?: 'warning';
  readonly check: string;
  readonly found: RegExp;
}

const DAMAGES: Readonly<Record<string, Damage>> = {
  'a zeroed page': {
    plant: tenant => changePage(tenant, rootOf(tenant, 't'), bytes => bytes.fill(0)),
    check: 'integrity',
    found: /table t\b/,
  },
  'a torn page': {
    plant: tenant =>
      changePage(tenant, rootOf(tenant, 'sqlite_autoindex_t_1'), bytes => bytes.fill(0xa5, 0, PAGE / 2)),
    check: 'integrity',
    found: /index sqlite_autoindex_t_1/,
  },
  'a truncated file': {
    plant: tenant =>
      truncateSync(fileOf(tenant), Math.floor(statSync(fileOf(tenant)).size / 2 / PAGE) * PAGE),
    check: 'integrity',
    found: /cut off: \d+ of \d+ bytes/,
  },
  'an emptied file': {
    plant: tenant => truncateSync(fileOf(tenant), 0),
    check: 'committed-jobs',
    found: /is empty \(0 bytes\)/,
  },
  'a file that is none of SQLite': {
    plant: tenant => writeFileSync(fileOf(tenant), Buffer.alloc(64 * 1024, 'encrypted?')),
    check: 'readable',
    found: /no SQLite database.*encrypted/,
  },
  'a file that cannot be opened': {
    plant: tenant => {
      rmSync(fileOf(tenant));
      mkdirSync(fileOf(tenant));
    },
    check: 'readable',
    found: /not a regular file/,
  },
  'a database that is gone': {
    plant: tenant => {
      for (const suffix of ['', '-wal', '-shm']) rmSync(fileOf(tenant) + suffix, { force: true });
    },
    check: 'orphan',
    found: /tenant\.db is gone: a broker wrote to it/,
  },
  'a log without its database': {
    plant: (tenant, other) => {
      writeFileSync(`${fileOf(tenant)}-wal`, logOf(other));
      rmSync(fileOf(tenant));
    },
    check: 'orphan',
    found: /tenant\.db-wal is there without its database/,
  },
  'the log of another file': {
    plant: (tenant, other) => {
      // Readers of this tenant still have the index of its own log.
      rmSync(`${fileOf(tenant)}-shm`, { force: true });
      writeFileSync(`${fileOf(tenant)}-wal`, logOf(other));
    },
    check: 'wal',
    found: /without its write-ahead log.* the file is in order/,
  },
  'a row of the ledger that is gone': {
    plant: tenant =>
      change(tenant, db =>
        db.exec(
          'DELETE FROM sqlite_onewriter_ledger WHERE id = (SELECT max(id) - 3 FROM sqlite_onewriter_ledger)',
        ),
      ),
    check: 'ledger',
    found: /^1 row of the ledger is missing \(id \d+\)/,
  },
  'the row of the newest job that is gone': {
    plant: tenant =>
      change(tenant, db =>
        db.exec(
          'DELETE FROM sqlite_onewriter_ledger WHERE id = (SELECT max(id) FROM sqlite_onewriter_ledger)',
        ),
      ),
    check: 'committed-jobs',
    found: /^1 of the last \d+ completed jobs is not in the ledger/,
  },
  'a row of the ledger that is doubled': {
    plant: tenant =>
      change(tenant, db =>
        db.exec(`INSERT INTO sqlite_onewriter_ledger(job_id, commit_seq, committed_at, results)
          SELECT job_id, commit_seq, committed_at, results FROM sqlite_onewriter_ledger ORDER BY id DESC LIMIT 1`),
      ),
    check: 'ledger',
    found: /^1 row of the ledger is of a job that has another/,
  },
  'an index of the ledger that is out of step': {
    plant: tenant =>
      change(tenant, db =>
        db.exec('DELETE FROM sqlite_onewriter_jobs WHERE id IN (SELECT min(id) FROM sqlite_onewriter_jobs)'),
      ),
    check: 'ledger',
    found: /^1 row of the ledger is missing in its index/,
  },
  'a state that is gone': {
    plant: tenant => change(tenant, db => db.exec('DELETE FROM sqlite_onewriter_state')),
    check: 'ledger',
    found: /sqlite_onewriter_state .* no row/,
  },
  'a commit number that runs back': {
    plant: tenant =>
      change(tenant, db =>
        db.exec(
          'UPDATE sqlite_onewriter_ledger SET commit_seq = 1 WHERE id = (SELECT max(id) - 1 FROM sqlite_onewriter_ledger)',
        ),
      ),
    check: 'ledger',
    found: /^1 row of the ledger has a lower commit/,
  },
  'a row that refers to nothing': {
    plant: tenant => change(tenant, db => db.exec('INSERT INTO child VALUES (99999), (99998)')),
    level: 'warning',
    check: 'foreign-keys',
    found: /^2 rows of child refer to rows of t that are not there/,
  },
  'an index that lacks rows': {
    plant: tenant =>
      change(tenant, db => {
        db.exec('CREATE INDEX late ON t(n, name)');
        const row = db
          .prepare<[], [unknown]>("SELECT * FROM sqlite_schema WHERE name = 'late'")
          .raw(true)
          .get()!;
        db.unsafeMode(true);
        db.pragma('writable_schema = ON');
        db.exec("DELETE FROM sqlite_schema WHERE name = 'late'");
        db.pragma('writable_schema = RESET');
        db.exec("INSERT INTO t(name) VALUES ('not in the index')");
        db.pragma('writable_schema = ON');
        db.prepare('INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)').run(...row);
        db.pragma('writable_schema = RESET');
      }),
    check: 'integrity',
    found: /missing from index late/,
  },
  'a layout of a newer version': {
    plant: tenant => change(tenant, db => db.exec('UPDATE sqlite_onewriter_state SET format = 99')),
    check: 'ledger',
    found: /format 99; this program knows format 3/,
  },
};

describe('onewriter check', () => {
  it(
    'says nothing of tenants with every kind of write behind them',
    async () => {
      const left = [...names];
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          for (let name = left.pop(); name !== undefined; name = left.pop()) {
            await writeEveryWay({ app, gatewayUrl: stack.gatewayUrl, token: stack.token }, name);
          }
        }),
      );
      const report = await onewriter('check', '--all', '--json');
      expect({ ...parseJson(report), code: report.code }).toEqual({
        tenants: TENANTS,
        errors: 0,
        warnings: 0,
        findings: [],
        skipped: [],
        code: 0,
      });
    },
    120_000 + TENANTS * 2_000,
  );

  it('names each damage, in that tenant alone, and says what to do', async () => {
    const planted = new Map<string, Damage>();
    const damages = Object.values(DAMAGES);
    expect(TENANTS).toBeGreaterThan(damages.length + 3);
    const intact = names.at(-1)!;
    for (const [index, damage] of damages.entries()) planted.set(names[index]!, damage);
    const swapped = [names[damages.length]!, names[damages.length + 1]!] as const;
    await Promise.all(
      [...planted.keys(), ...swapped, intact].map(async name => {
        const rows = Array.from(
          { length: MORE_ROWS },
          (_, row) => `('more ${row} ${'x'.repeat(40)}')`,
        ).join();
        await app.tenant(name).exec(`INSERT INTO t(name) VALUES ${rows}`, { timeoutMs: 60_000 });
        await close(name);
      }),
    );
    const open = names.at(-2)!;
    await app.tenant(open).exec("INSERT INTO t(name) VALUES ('to the log')", { timeoutMs: 60_000 });
    for (const [name, { plant }] of planted) plant(name, open);
    const aside = `${fileOf(swapped[0])}.aside`;
    renameSync(fileOf(swapped[0]), aside);
    renameSync(fileOf(swapped[1]), fileOf(swapped[0]));
    renameSync(aside, fileOf(swapped[1]));

    const all = [...planted.keys(), ...swapped, intact];
    const report = await onewriter('check', ...all, '--json');
    expect(report.code).toBe(3);
    const findings: Finding[] = parseJson(report).findings;
    const got = (name: string) => findings.filter(({ tenant }) => tenant === name);
    for (const [name, { level = 'error', check, found }] of planted) {
      expect(got(name)).toContainEqual(
        expect.objectContaining({
          level,
          check,
          found: expect.stringMatching(found),
          next: expect.stringMatching(/\w/),
        }),
      );
    }
    for (const [name, other] of [swapped, swapped.toReversed()] as [string, string][]) {
      expect(got(name)).toContainEqual(
        expect.objectContaining({
          check: 'committed-jobs',
          found: expect.stringContaining(`in the file of tenant ${other}`),
        }),
      );
    }
    expect(got(intact)).toEqual([]);
    // With all tenants the same is found.
    const whole: Finding[] = parseJson(await onewriter('check', '--all', '--json')).findings;
    for (const [name, { check, found }] of planted) {
      const finding = expect.objectContaining({ tenant: name, check, found: expect.stringMatching(found) });
      // What has no file is no tenant there.
      expect(whole).toContainEqual(finding);
    }
  }, 120_000);

  it('lists what SQLite cannot use here, each with its error, and checks all else', async () => {
    const name = 'odd-objects';
    await app
      .tenant(name)
      .exec('CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE kid(p REFERENCES parent(id))');
    await close(name);
    change(name, addBrokenObjects);
    change(name, db => db.exec('INSERT INTO kid VALUES (5)'));
    const report = await onewriter('check', name, '--json');
    const findings: Finding[] = parseJson(report).findings;
    expect(findings.filter(({ level }) => level === 'error')).toEqual([]);
    expect(report.code).toBe(0);
    for (const [object, error] of Object.entries(BROKEN)) {
      expect(findings.filter(({ found }) => new RegExp(`\\b${object}\\b`).test(found))).toContainEqual(
        expect.objectContaining({ level: 'warning', check: 'schema', found: expect.stringMatching(error) }),
      );
    }
    expect(findings).toContainEqual(
      expect.objectContaining({ check: 'foreign-keys', found: expect.stringMatching(/1 row of kid refers/) }),
    );
    // What is damaged beside them is found all the same.
    const copy = `${fileOf(name)}.sound`;
    copyFileSync(fileOf(name), copy);
    changePage(name, rootOf(name, 'good'), bytes => bytes.fill(0));
    const damaged = await onewriter('check', name, '--json');
    expect(damaged.code).toBe(3);
    expect(parseJson(damaged).findings).toContainEqual(
      expect.objectContaining({
        level: 'error',
        check: 'integrity',
        found: expect.stringMatching(/table good/),
      }),
    );
  });
});
