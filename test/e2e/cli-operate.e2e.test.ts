import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  CLI_MAIN,
  type Stack,
  spawnProcess,
  startRedis,
  startStack,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { columnInFile, inFile } from './tenant-file.ts';

/* The commands for people on call, against one running stack: tenants, sql, tail, backup, restore, check. */

let stack: Stack;
let app: Onewriter;
let tenants = 0;

beforeAll(async () => {
  stack = await startStack();
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await app?.close();
  await stack?.stop();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant);
const numbers = (tenant: string) => columnInFile(stack.dataDir, tenant, 'SELECT n FROM t ORDER BY n');

/** A tenant with a table `t(n)` that holds 1 to `rows`. */
async function newTenant(rows = 2) {
  const db = app.tenant(`cli-${++tenants}`);
  await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
  for (let n = 1; n <= rows; n++) await db.prepare('INSERT INTO t VALUES (?)').run(n);
  return db;
}

async function backUp(tenant: string): Promise<{ path: string; manifest: Record<string, unknown> }> {
  const [summary] = parseJson(await onewriter('backup', tenant, '--json'));
  expect(summary.error).toBeNull();
  return summary;
}

/** Makes pages of a file unreadable, its header left as it is. */
function damage(path: string): void {
  const bytes = readFileSync(path);
  bytes.fill(0xa5, 4096);
  writeFileSync(path, bytes);
}

describe('onewriter tenants', () => {
  it('creates, looks at, pauses, resumes and deletes a tenant', async () => {
    expect(parseJson(await onewriter('tenants', 'create', 'born', '--json'))).toEqual({
      tenant: 'born',
      created: true,
      commitSeq: 1,
    });
    expect((await onewriter('tenants', 'create', 'born')).stdout).toMatch(
      /there already; nothing was changed/,
    );
    expect(parseJson(await onewriter('tenants', 'pause', 'born', '--json'))).toEqual({
      tenant: 'born',
      paused: true,
      queuedJobs: 0,
    });
    // It waits in the queue while the tenant is paused.
    const receipt = await app.tenant('born').enqueue('CREATE TABLE late(n)');
    expect(parseJson(await onewriter('tenants', 'info', 'born', '--json'))).toMatchObject({
      state: 'paused',
      queuedJobs: 1,
      commitSeq: 1,
      tables: [],
      fileError: null,
    });
    expect((await onewriter('tenants', 'resume', 'born')).code).toBe(0);
    await receipt.committed();
    const [unsure, wrong] = await Promise.all([
      onewriter('tenants', 'delete', 'born'),
      onewriter('tenants', 'pause', 'nobody', '--json'),
    ]);
    expect(unsure).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/CONFIRMATION_REQUIRED .*--confirm born/),
    });
    expect(JSON.parse(wrong.stderr)).toMatchObject({ error: { code: 'TENANT_NOT_FOUND' } });
    const deleted = parseJson(await onewriter('tenants', 'delete', 'born', '--confirm', 'born', '--json'));
    expect(existsSync(join(deleted.folder, 'tenant.db'))).toBe(true);
    expect(existsSync(fileOf('born'))).toBe(false);
  });

  it('says what is wrong with a token, a command line and a stack that is not there', async () => {
    const [token, usage, nothing] = await Promise.all([
      runCli(['tenants', 'create', 'x', '--data-dir', stack.dataDir], { env: { ONEWRITER_TOKEN: 'wrong' } }),
      runCli(['tenants', 'pause']),
      runCli(['tenants', 'pause', 'x', '--data-dir', '/nowhere', '--json']),
    ]);
    expect(token).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/UNAUTHENTICATED .*ONEWRITER_TOKEN/),
    });
    expect(usage).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/tenant.*onewriter tenants pause --help/),
    });
    expect(nothing.code).toBe(1);
    expect(JSON.parse(nothing.stderr).error).toMatchObject({ code: 'MISCONFIGURED' });
  });
});

describe('onewriter sql', () => {
  it('runs what standard input has, until a statement fails', async () => {
    const { id } = await newTenant();
    const input = join(stack.dataDir, 'statements.sql');
    writeFileSync(
      input,
      "INSERT INTO t VALUES (10),\n(11);\n.tables\nSELECT n, ';' AS s FROM t;\nBEGIN;\nINSERT INTO t VALUES (12);\n",
    );
    const run = await runCli(['sql', id, '--json', '--data-dir', stack.dataDir], { stdin: input });
    expect(run.code).toBe(1);
    const lines = run.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    expect(lines).toEqual([
      expect.objectContaining({ kind: 'write', changes: 2 }),
      ['t'],
      expect.objectContaining({ rows: [1, 2, 10, 11].map(n => [n, ';']) }),
    ]);
    expect(JSON.parse(run.stderr).error.code).toBe('STATEMENT_NOT_ALLOWED');
    expect(numbers(id)).toEqual([1, 2, 10, 11]);
  });

  it('is a shell at a terminal, with history', async () => {
    const { id } = await newTenant();
    const history = join(stack.dataDir, 'history');
    // `script` gives it a terminal.
    const command = `"${process.execPath}" "${CLI_MAIN}" sql ${id} --data-dir ${stack.dataDir}`;
    const shell = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, ONEWRITER_HISTORY: history },
    });
    onTestFinished(() => void shell.kill('SIGKILL'));
    let screen = '';
    shell.stdout.setEncoding('utf8').on('data', text => {
      screen += text;
    });
    await waitFor(() => screen.includes(`${id}> `), { timeoutMs: 30_000, what: 'the prompt' });
    shell.stdin.write('SELECT max(n)\n AS top FROM t;\n.schema\n.quit\n');
    await waitFor(() => shell.exitCode !== null && shell.stdout.readableEnded, {
      timeoutMs: 30_000,
      what: 'the end of the shell',
    });
    expect(screen).toMatch(/top\r?\n─+\r?\n +2\r?\n1 row/);
    expect(screen).toContain('CREATE TABLE t(n INTEGER PRIMARY KEY);');
    expect(readFileSync(history, 'utf8')).toContain('.schema');
  });

  it('tails commits as they happen', async () => {
    const db = await newTenant(0);
    await using tail = await spawnProcess(
      process.execPath,
      [CLI_MAIN, 'tail', db.id, '--json', '--data-dir', stack.dataDir],
      { env: withoutSettings() },
    );
    const lines = () =>
      tail
        .stdout()
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line));
    await waitFor(() => lines().length === 1, { timeoutMs: 30_000, what: 'the commit before' });
    await db.prepare('INSERT INTO t VALUES (1)').run();
    await expect(db.prepare('INSERT INTO t VALUES (1)').run()).rejects.toThrow();
    await waitFor(() => lines().length === 3, { timeoutMs: 30_000, what: 'both commits' });
    expect(lines()).toEqual([
      expect.objectContaining({
        commitSeq: 1,
        writes: 1,
        statement: 'CREATE TABLE t(n INTEGER PRIMARY KEY)',
      }),
      expect.objectContaining({ commitSeq: 2, failed: 0, statement: 'INSERT INTO t VALUES (?)' }),
      expect.objectContaining({ commitSeq: 3, failed: 1, errors: ['CONSTRAINT_VIOLATION'] }),
    ]);
    tail.kill('SIGINT');
    expect((await tail.exited).code).toBe(0);
  });
});

describe('onewriter backup and restore', () => {
  it('copies a tenant that is being written, as of one commit', async () => {
    const db = await newTenant(0);
    const insert = db.prepare('INSERT INTO t VALUES (?)');
    let n = 0;
    let done = false;
    const writing = (async () => {
      while (!done) await insert.run(++n);
    })();
    const { path, manifest } = await backUp(db.id).finally(async () => {
      done = true;
      await writing;
    });
    // The table's own commit, and one commit a row: rows and commits must be of one moment.
    const copy = new Database(path, { readonly: true });
    try {
      const rows = copy.prepare('SELECT count(*) FROM t').pluck().get() as number;
      expect(rows).toBe((manifest['commitSeq'] as number) - 1);
      expect(rows).toBe(manifest['rows']);
    } finally {
      copy.close();
    }
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  it('verifies pages only where it is asked to, and all of it when such a backup is restored', async () => {
    const db = await newTenant(3);
    const taken = await onewriter('backup', db.id, '--verify', 'quick', '--json');
    const [{ path, manifest }] = parseJson(taken);
    expect(manifest).toMatchObject({ manifest: 2, verified: 'quick', rows: 3, foreignKeyViolations: null });
    const report = parseJson(await onewriter('restore', path, `${db.id}-quick`, '--json'));
    expect(report).toMatchObject({ rows: 3, comparedWithManifest: true, foreignKeyViolations: 0 });
    const refused = await onewriter('backup', db.id, '--verify', 'none');
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('--verify is full or quick') });
  });

  it('restores in place: the old file is kept, numbers continue, followers get a gap', async () => {
    const db = await newTenant();
    const { path } = await backUp(db.id);
    await db.prepare('INSERT INTO t VALUES (3)').run();
    const late = await db.enqueue('INSERT INTO t VALUES (4)');
    await late.committed();
    const follower = new AbortController();
    const events = await fetch(`${stack.gatewayUrl}/v1/tenants/${db.id}/events`, {
      headers: { authorization: `Bearer ${stack.token}` },
      signal: follower.signal,
    });
    const told = waitForText(events, /event: gap\nid: 6\./);

    const report = parseJson(await onewriter('restore', path, '--replace', '--json'));
    expect(report).toMatchObject({
      tenant: db.id,
      backupCommitSeq: 3,
      replacedCommitSeq: 5,
      commitSeq: 6,
      firstCommitSeq: 7,
      rows: 2,
      comparedWithManifest: true,
      paused: false,
      warnings: [],
    });
    await told;
    follower.abort();
    expect(numbers(db.id)).toEqual([1, 2]);
    // A client that waits for what it has seen before is served; a write that is gone is not called committed.
    const read = await fetch(`${stack.gatewayUrl}/v1/tenants/${db.id}/query`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.token}`,
        'content-type': 'application/json',
        'if-commit-seq-at-least': '5',
      },
      body: JSON.stringify({ sql: 'SELECT max(n) AS top FROM t' }),
    });
    expect(await read.json()).toMatchObject({ rows: [{ top: 2 }] });
    await waitFor(async () => (await late.status()).state === 'unknown', { timeoutMs: 20_000 });
    expect((await db.prepare('INSERT INTO t VALUES (3)').run()).commitSeq).toBe(8);
    expect(parseJson(await onewriter('check', db.id, '--json'))).toMatchObject({ errors: 0, warnings: 0 });

    // And back again, to what was kept.
    const back = await onewriter('restore', report.replaced, db.id, '--replace');
    expect(back).toMatchObject({ code: 0, stdout: expect.stringContaining('commit 9') });
    expect(numbers(db.id)).toEqual([1, 2, 3, 4]);
    expect(await late.status()).toMatchObject({ state: 'committed' });
  });

  it('prints an undo that works as it is pasted, also where the data directory was an option', async () => {
    const db = await newTenant();
    const { path } = await backUp(db.id);
    await db.prepare('INSERT INTO t VALUES (7)').run();
    const restored = await onewriter('restore', path, '--replace');
    const undo = /^undo: onewriter (.+)$/m.exec(restored.stdout)?.[1] ?? restored.stdout;
    expect(await runCli(undo.split(' '))).toMatchObject({ code: 0 });
    expect(numbers(db.id)).toContain(7);
  });

  it('restores as another tenant, also what no broker has written', async () => {
    const db = await newTenant();
    const { path } = await backUp(db.id);
    const plain = join(stack.dataDir, 'plain.db');
    const file = new Database(plain);
    file.exec('CREATE TABLE t(n); INSERT INTO t VALUES (7)');
    file.close();
    const [copied, adopted, taken, nameless] = await Promise.all([
      onewriter('restore', path, 'copied'),
      onewriter('restore', plain, 'adopted', '--json'),
      onewriter('restore', path),
      onewriter('restore', plain),
    ]);
    expect(copied).toMatchObject({ code: 0, stdout: expect.stringContaining('verified: checksum') });
    expect(parseJson(adopted)).toMatchObject({
      commitSeq: 1,
      firstCommitSeq: 2,
      comparedWithManifest: false,
    });
    expect(numbers('copied')).toEqual([1, 2]);
    expect(numbers('adopted')).toEqual([7]);
    expect(taken).toMatchObject({ code: 1, stderr: expect.stringMatching(/TENANT_BUSY .*--replace/) });
    expect(nameless).toMatchObject({ code: 1, stderr: expect.stringContaining('name one') });
  });

  it('refuses a damaged backup, and leaves all as it is', async () => {
    const db = await newTenant();
    const { path } = await backUp(db.id);
    damage(path);
    const [checked, bare] = await Promise.all([
      onewriter('restore', path, '--replace'),
      (async () => {
        const copy = join(stack.dataDir, 'bare.db');
        writeFileSync(copy, readFileSync(path));
        return onewriter('restore', copy, db.id, '--replace');
      })(),
    ]);
    expect(checked).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/DATABASE_CORRUPT .*SHA-256.*Nothing was restored/),
    });
    expect(bare).toMatchObject({ code: 1, stderr: expect.stringMatching(/DATABASE_CORRUPT/) });
    expect(await db.prepare('INSERT INTO t VALUES (3)').run()).toMatchObject({ commitSeq: 4 });
    expect(parseJson(await onewriter('check', db.id, '--json')).findings).toEqual([]);
  });

  it('does not touch a tenant that another process writes', async () => {
    const db = await newTenant();
    const { path } = await backUp(db.id);
    await onewriter('tenants', 'pause', db.id);
    const other = new Database(fileOf(db.id));
    other.exec('BEGIN IMMEDIATE');
    try {
      const refused = await runCli(['restore', path, '--replace', '--data-dir', stack.dataDir], {
        env: { ONEWRITER_BUSY_TIMEOUT_MS: '200' },
      });
      expect(refused).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/TENANT_BUSY Another process.*Nothing was changed/),
      });
    } finally {
      other.exec('ROLLBACK');
      other.close();
    }
    // It was paused before, and stays so.
    expect(parseJson(await onewriter('tenants', 'info', db.id, '--json'))).toMatchObject({
      state: 'paused',
      commitSeq: 3,
    });
    await onewriter('tenants', 'resume', db.id);
    await db.prepare('INSERT INTO t VALUES (3)').run();
  });

  it('finds a damaged file, keeps no backup of it, and restores over it', async () => {
    const db = await newTenant(500);
    const { path } = await backUp(db.id);
    await onewriter('tenants', 'pause', db.id);
    damage(fileOf(db.id));
    const [checked, saved] = await Promise.all([
      onewriter('check', db.id),
      onewriter('backup', db.id, '--json'),
    ]);
    expect(checked).toMatchObject({ code: 3, stdout: expect.stringMatching(/error .*\n +→ .*/) });
    expect(saved.code).toBe(1);
    expect(parseJson(saved)[0].error.code).toBe('DATABASE_CORRUPT');
    const report = parseJson(await onewriter('restore', path, '--replace', '--leave-paused', '--json'));
    expect(report).toMatchObject({ replacedCommitSeq: null, paused: true });
    expect(report.commitSeq).toBeGreaterThan(1e12);
    expect(existsSync(report.replaced)).toBe(true);
    await onewriter('tenants', 'resume', db.id);
    expect((await db.prepare('INSERT INTO t VALUES (501)').run()).commitSeq).toBe(report.commitSeq + 1);
  }, 60_000);
});

describe('onewriter check --all', () => {
  it('finds what is damaged, what does not fit and what has no owner', async () => {
    const stale = await newTenant();
    const { path } = await backUp(stale.id);
    await stale.prepare('INSERT INTO t VALUES (3)').run();
    const cut = await newTenant();
    const keyed = await newTenant();
    for (const { id } of [stale, cut]) await onewriter('tenants', 'pause', id);
    // An old file is copied over a tenant's: its jobs are done, and not in its ledger.
    writeFileSync(fileOf(stale.id), readFileSync(path));
    renameSync(fileOf(cut.id), `${fileOf(cut.id)}.replaced-20261121T000000Z`);
    await keyed.exec('CREATE TABLE child(n REFERENCES t(n))');
    await onewriter('tenants', 'pause', keyed.id);
    const file = new Database(fileOf(keyed.id));
    file.pragma('foreign_keys = OFF');
    file.exec('INSERT INTO child VALUES (99)');
    file.close();
    symlinkSync(dirname(fileOf(keyed.id)), join(stack.dataDir, 'tenants', 'linked'));

    const report = await onewriter('check', '--all', '--json');
    expect(report.code).toBe(3);
    const { findings, errors } = parseJson(report);
    expect(errors).toBe(3);
    expect(findings).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ level: 'error', tenant: stale.id, check: 'committed-jobs' }),
        expect.objectContaining({
          level: 'error',
          tenant: cut.id,
          check: 'orphan',
          next: expect.stringContaining('mv '),
        }),
        expect.objectContaining({
          level: 'error',
          tenant: null,
          check: 'orphan',
          found: expect.stringContaining('linked'),
        }),
        expect.objectContaining({ level: 'warning', tenant: keyed.id, check: 'foreign-keys' }),
      ]),
    );
    expect(inFile(stack.dataDir, keyed.id, db => db.pragma('foreign_key_check'))).toHaveLength(1);
  });
});

describe('onewriter import and export', () => {
  it('imports the rows of a file, names the refused ones, and exports the rest', async () => {
    const { id } = await newTenant(0);
    const at = (name: string) => join(stack.dataDir, name);
    writeFileSync(at('rows.csv'), 'n\n1\n2\n2\n');
    writeFileSync(at('more.ndjson'), '{"n":2}\n{"n":3}\n');
    const refused = await onewriter('import', id, at('rows.csv'), '--table', 't');
    expect(refused).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^2 rows of 3 committed .* 1 rejected\n +line 4: CONSTRAINT_VIOLATION/),
    });
    const [more, missing, unread] = await Promise.all([
      onewriter('import', id, at('more.ndjson'), '--table', 't', '--on-conflict', 'ignore', '--json'),
      onewriter('import', id, at('rows.csv'), '--table', 'nothing'),
      onewriter('import', id, at('nothing.csv'), '--table', 't'),
    ]);
    expect(more.code).toBe(0);
    expect(parseJson(more)).toMatchObject({
      outcome: 'done',
      rows: 2,
      accepted: 2,
      rejections: [],
      error: null,
    });
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') });
    expect(unread).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('INVALID_ARGUMENT Cannot read'),
    });
    expect(numbers(id)).toEqual([1, 2, 3]);

    const [file, rows] = await Promise.all([
      onewriter('export', id, at('copy.db'), '--json'),
      onewriter('export', id, '-', '--format', 'csv', '--table', 't'),
    ]);
    expect(parseJson(file)).toMatchObject({ format: 'sqlite', commitSeq: expect.any(Number) });
    expect(rows.stdout).toBe('n\r\n1\r\n2\r\n3\r\n');
    const copy = new Database(at('copy.db'), { readonly: true });
    expect(copy.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3);
    copy.close();
    expect(await onewriter('export', id, at('copy.db'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--force'),
    });
  });
});

describe('onewriter status', () => {
  it('prints the leader and what is wrong, once and every second', async () => {
    const [text, json] = await Promise.all([onewriter('status'), onewriter('status', '--json')]);
    expect(text.stdout).toMatch(/^Onewriter {2}.* group default/);
    expect(text.stdout).toMatch(new RegExp(`leader +pid ${stack.pids.broker} on `));
    expect(parseJson(json)).toMatchObject({
      status: { v: 1, leader: { pid: stack.pids.broker } },
      brokers: [expect.objectContaining({ state: 'leading' })],
      findings: expect.any(Array),
    });
    await using watching = await spawnProcess(
      process.execPath,
      [CLI_MAIN, 'status', '--watch', '--json', '--data-dir', stack.dataDir],
      { env: withoutSettings() },
    );
    await waitFor(() => watching.stdout().trim().split('\n').length >= 2, { timeoutMs: 30_000 });
    watching.kill('SIGINT');
    expect((await watching.exited).code).toBe(0);
  });

  it('ends with 3 where no broker leads', async () => {
    await using redis = await startRedis();
    const alone = await runCli(['status'], { env: { ONEWRITER_REDIS_URL: redis.url } });
    expect(alone).toMatchObject({ code: 3, stdout: expect.stringMatching(/critical[\s\S]*No broker runs/) });
  });
});

describe('onewriter bench', () => {
  it('measures in a tenant of its own and deletes it', async () => {
    const report = parseJson(await onewriter('bench', '--seconds', '0.3', '--json'));
    expect(report.results).toHaveLength(4);
    for (const { perSecond, p99Ms } of report.results) {
      expect(perSecond).toBeGreaterThan(0);
      expect(p99Ms).toBeGreaterThan(0);
    }
    expect(report.rowsFound).toBe(report.rowsCommitted);
    expect(existsSync(fileOf(report.tenant))).toBe(false);
  });
});

describe('onewriter completion', () => {
  it('completes commands, options and tenants in bash', async () => {
    const { id } = await newTenant(0);
    const script = join(stack.dataDir, 'completion.bash');
    writeFileSync(script, (await runCli(['completion', 'bash'])).stdout);
    const bash = await spawnProcess(
      'bash',
      [
        '-c',
        `onewriter() { "${process.execPath}" "${CLI_MAIN}" "$@"; }; source "$1"
         words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _onewriter; echo "\${COMPREPLY[*]}"; }
         words onewriter rest; words onewriter tenants pa; words onewriter backup --al; words onewriter tail "$2"`,
        'bash',
        script,
        id,
      ],
      { env: { ...withoutSettings(), ONEWRITER_DATA_DIR: stack.dataDir } },
    );
    await bash.exited;
    expect(bash.stdout().trim().split('\n')).toEqual([
      'restore',
      'pause',
      '--all',
      expect.stringContaining(id),
    ]);
    const [unknown, zsh, fish] = await Promise.all(
      ['tcsh', 'zsh', 'fish'].map(shell => runCli(['completion', shell])),
    );
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('bash, zsh, fish') });
    for (const { stdout } of [zsh!, fish!]) expect(stdout).toContain('tenants pause');
  });
});

describe('onewriter doctor', () => {
  it('finds nothing wrong with a stack that works', async () => {
    // What other tests have left in the folder of tenants is for `check`.
    const { code, stdout, stderr } = await onewriter('doctor', '--json');
    const { diagnoses } = parseJson({ code, stdout, stderr });
    const levels = Object.fromEntries(
      diagnoses.map(({ check, level }: { check: string; level: string }) => [check, level]),
    );
    expect(levels).toMatchObject({
      sqlite: 'ok',
      permissions: 'ok',
      'redis-eviction': 'ok',
      'redis-aof': 'ok',
      clock: 'ok',
      leader: 'ok',
      epoch: 'ok',
      gateway: 'ok',
      dashboard: 'ok',
      token: 'ok',
      paused: 'warning',
    });
  });

  it('finds what is wrong with one that does not, and says what to do', async () => {
    await using data = await temporaryDirectory('doctor');
    await using redis = await startRedis({
      maxmemoryPolicy: 'allkeys-lru',
      settings: { maxmemory: '100mb' },
    });
    writeFileSync(join(data.path, 'token-secret'), 'a-secret-that-all-can-read', { mode: 0o644 });
    const at = ['--data-dir', data.path];
    const env = {
      ONEWRITER_REDIS_URL: redis.url,
      ONEWRITER_GATEWAY_URL: 'http://127.0.0.1:1',
      ONEWRITER_DRAINMS: '1',
    };
    const [broken, silent, unset] = await Promise.all([
      runCli(['doctor', '--json', ...at], { env }),
      runCli(['doctor', ...at], { env: { ONEWRITER_REDIS_URL: 'redis://127.0.0.1:1' } }),
      runCli(['doctor', '--json', ...at], { env: { ONEWRITER_THREADS: 'many' } }),
    ]);
    expect(broken.code).toBe(3);
    const { diagnoses } = parseJson(broken);
    const found = (check: string, level: string) =>
      expect(diagnoses).toContainEqual(expect.objectContaining({ check, level, next: expect.any(String) }));
    found('redis-eviction', 'error');
    found('redis-aof', 'warning');
    found('permissions', 'error');
    found('leader', 'error');
    found('gateway', 'error');
    found('settings', 'warning');
    expect(silent).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/error +redis: .*\n +→ Start Redis/),
    });
    expect(parseJson(unset).diagnoses).toEqual([
      expect.objectContaining({ check: 'settings', found: expect.stringContaining('ONEWRITER_THREADS') }),
    ]);
  });
});

/** Reads a stream until it has a text. */
async function waitForText(response: Response, pattern: RegExp): Promise<void> {
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (pattern.test(text)) return;
  }
  throw new Error(`The stream ended without ${pattern}: ${text}`);
}
