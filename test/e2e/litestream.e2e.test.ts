import { createRequire } from 'node:module';
import { join } from 'node:path';
import { hashContent } from '@onewriter/files';
import { type ObjectStore, openStore, restoreLitestream } from '@onewriter/replicator';
import { spawnProcess, startS3, temporaryDirectory, waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/*
 * Litestream 0.3 itself replicates a file that is written meanwhile; what it stored is restored here.
 */

/** Undefined where its package has no binary for the machine. */
function findLitestream(): string | undefined {
  const require = createRequire(createRequire(import.meta.url).resolve('@flydotio/litestream/package.json'));
  try {
    return require.resolve(`@flydotio/litestream-${process.platform}-${process.arch}/litestream`);
  } catch {
    return undefined;
  }
}

const litestream = findLitestream();
const ROUNDS = 3;

it.skipIf(litestream === undefined).each(['directory', 'bucket'])(
  'restores what Litestream stored in a %s, over several of its logs, and without its tables',
  async kind => {
    await using s3 = await startS3();
    await using folder = await temporaryDirectory('litestream');
    const path = join(folder.path, 'app.db');
    const target = `file://${join(folder.path, 'replica')}`;
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX by_v ON t(v)');
    const process = await spawnProcess(litestream!, ['replicate', path, target], { env: {} });
    await waitFor(() => process.logs().includes('snapshot written'), { what: 'its snapshot' });
    const insert = db.prepare('INSERT INTO t(v) VALUES (?)');
    const segments = () => process.logs().split('wal segment written').length;
    for (let round = 0; round < ROUNDS; round++) {
      const before = segments();
      // More than the 1,000 pages after which it begins another log.
      db.transaction(() => {
        for (let row = 0; row < 4_000; row++) insert.run(`${round} ${row} ${'x'.repeat(300)}`);
      })();
      db.exec('DELETE FROM t WHERE id % 3 = 0');
      await waitFor(() => segments() > before, { what: 'another piece of its log' });
    }
    await process.stop(10_000);
    const expected = contentOf(db);
    const stored = await openStore(target);
    const store = kind === 'bucket' ? await copyTo(await openStore(s3.url, s3.env), stored) : stored;
    const draft = join(folder.path, 'restored.db');
    const restored = await restoreLitestream({ store, draft });
    await store.close();
    expect(restored.logs).toBeGreaterThan(1);
    const copy = new Database(draft);
    expect(copy.pragma('integrity_check', { simple: true })).toBe('ok');
    expect(contentOf(copy)).toBe(expected);
    copy.close();
    db.close();
    if (kind === 'bucket') return;
    const dataDir = join(folder.path, 'data');
    const args = [
      'restore',
      'acme',
      '--from-litestream',
      target,
      '--offline',
      '--data-dir',
      dataDir,
      '--json',
    ];
    const report = parseJson(await runCli(args));
    expect(report).toMatchObject({ tenant: 'acme', generation: restored.generation, replaced: null });
    const tenant = new Database(report.file);
    expect(hashContent(tenant)).toBe(expected);
    tenant.close();
    expect((await runCli([...args, '--at', '5'])).code).toBe(2);
  },
);

async function copyTo(bucket: ObjectStore, stored: ObjectStore): Promise<ObjectStore> {
  for await (const { key } of stored.list('')) await bucket.put(key, (await stored.get(key))!.body);
  await stored.close();
  return bucket;
}

function contentOf(db: Database.Database): string {
  db.exec('DROP TABLE IF EXISTS _litestream_seq; DROP TABLE IF EXISTS _litestream_lock');
  return hashContent(db);
}
