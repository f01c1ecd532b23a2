import { isUtf8 } from 'node:buffer';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LIMITS, splitScript, tenantFile } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { spawnProcess, startRedis, startService, TEST_TOKEN_SECRET, waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { compareContent, readContent } from './content.ts';
import { makeDatabase } from './make-database.ts';

/** Result of one schema. */
export interface RoundTrip {
  readonly seed: number;
  readonly features: readonly string[];
  readonly encoding: string;
  /** Empty: what was loaded equals what was exported. */
  readonly differences: readonly string[];
  /** Tables whose rows went through NDJSON and back. */
  readonly imported: number;
  /** False: the dump is larger than a script may be, so only the sqlite3 shell has loaded it. */
  readonly loadedHere: boolean;
}

/** A gateway and a broker over files that are made elsewhere. */
export interface RoundTrips extends AsyncDisposable {
  /**
   * Makes a database, exports it, loads the export in all ways there are, and compares.
   * @param rows also as NDJSON, which takes a request for each table
   */
  run(seed: number, rows: boolean): Promise<RoundTrip>;
}

const NDJSON = 'application/x-ndjson';

/** @param dataDir an empty folder. @param shell the sqlite3 program */
export async function startRoundTrips(dataDir: string, shell = 'sqlite3'): Promise<RoundTrips> {
  const redis = await startRedis();
  const options = { redisUrl: redis.url, dataDir };
  const broker = await startService('broker', options);
  const gateway = await startService('gateway', options);
  const authorization = `Bearer ${await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'write' })}`;
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });

  async function ask(path: string, body?: string, type = 'application/json'): Promise<string> {
    const response = await fetch(`${gateway.url}/v1/tenants/${path}`, {
      headers: { authorization, ...(body === undefined ? {} : { 'content-type': type }) },
      ...(body === undefined ? {} : { method: 'POST', body }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text.slice(0, 2_000)}`);
    return text;
  }
  /** Has the gateway load a dump. @returns why it was refused */
  async function loadDump(tenant: string, dump: Buffer | string): Promise<string | undefined> {
    const response = await fetch(`${gateway.url}/v1/tenants/${tenant}/load`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/sql' },
      body: dump as BodyInit,
    });
    const events = (await response.text()).trimEnd().split('\n');
    const last = JSON.parse(events.at(-1)!) as { event: string; error?: { message: string } };
    return last.event === 'done' ? undefined : (last.error?.message ?? 'it was refused');
  }

  const runScript = (tenant: string, sql: string) => ask(`${tenant}/script`, JSON.stringify({ sql }));

  /** @returns the tables that were imported */
  async function loadRows(tenant: string, dump: string, ndjson: string): Promise<ReadonlySet<string>> {
    const tables = splitScript(dump).filter(sql => /^CREATE (VIRTUAL )?TABLE/i.test(sql));
    await runScript(tenant, tables.join(';\n;'));
    const linesOf = new Map<string, string[]>();
    for (const line of ndjson.trimEnd().split('\n').slice(0, -1)) {
      const { table } = JSON.parse(line) as { table: string };
      const row = line.slice(`{"table":${JSON.stringify(table)},"row":`.length, -1);
      linesOf.set(table, [...(linesOf.get(table) ?? []), row]);
    }
    const imported = new Set<string>();
    for (const [table, lines] of linesOf) {
      // A row that refers to one that comes after it is refused.
      if (/^(child|parent)\d/.test(table)) continue;
      const closing = `{"onewriter_export":{"rows":${lines.length}}}`;
      const path = `${tenant}/import?table=${encodeURIComponent(table)}`;
      const answer = await ask(path, `${[...lines, closing].join('\n')}\n`, NDJSON);
      if (!/"event":"done".*"rejected":0/.test(answer)) throw new Error(`${table}: ${answer}`);
      imported.add(table);
    }
    return imported;
  }

  async function load(dump: string, path: string): Promise<readonly string[]> {
    await writeFile(`${path}.sql`, dump);
    const loading = await spawnProcess('sh', ['-c', 'exec "$0" -bail "$1" < "$1.sql"', shell, path]);
    const { code } = await loading.exited;
    return code === 0 ? [] : [`sqlite3 ended with ${code}: ${loading.stderr()}`];
  }

  /** The sqlite3 shell's own dump is loaded as SQLite runs it. */
  async function loadOfShell(tenant: string, path: string, folder: string): Promise<readonly string[]> {
    const [dumpFile, expected] = [join(folder, 'of-shell.sql'), join(folder, 'of-shell.db')];
    const dumping = await spawnProcess('sh', [
      '-c',
      'exec "$0" -readonly "$1" ".dump --preserve-rowids" > "$2"',
      ...[shell, path, dumpFile],
    ]);
    const { code } = await dumping.exited;
    if (code !== 0) return [`.dump ended with ${code}: ${dumping.stderr()}`];
    const dump = await readFile(dumpFile);
    const refused = await loadDump(tenant, dump);
    // The shell writes text that is not UTF-8 as it is.
    if (!isUtf8(dump)) return refused?.includes('not UTF-8') ? [] : [`a dump that is not UTF-8: ${refused}`];
    if (refused !== undefined) return [`load of .dump: ${refused}`];
    // By the same SQLite: older ones read 5e-324 as 0.
    const db = new Database(expected);
    try {
      db.unsafeMode().exec(dump.toString());
    } finally {
      db.close();
    }
    return compareContent(readContent(expected), readContent(tenantFile(dataDir, tenant))).map(
      text => `load of .dump: ${text}`,
    );
  }

  async function run(seed: number, rows: boolean): Promise<RoundTrip> {
    const [source, target, byRow] = [`source-${seed}`, `script-${seed}`, `rows-${seed}`];
    const path = tenantFile(dataDir, source);
    await mkdir(dirname(path), { recursive: true });
    const made = makeDatabase(path, seed);
    // Every other file has the writer's own tables in it.
    if (seed % 2 === 0) await runScript(source, 'DROP TABLE IF EXISTS never_made');
    const dump = await ask(`${source}/export?format=sql`);
    const shellFile = join(dirname(path), 'shell.db');
    const complaints = await load(dump, shellFile);
    const expected = readContent(path);
    const compare = (way: string, file: string, only?: (name: string) => boolean) =>
      compareContent(expected, readContent(file), only).map(text => `${way}: ${text}`);
    const differences = [...complaints, ...compare('sqlite3', shellFile)];
    const loaded = `loaded-${seed}`;
    const refused = await loadDump(loaded, dump);
    differences.push(
      ...(refused === undefined ? compare('load', tenantFile(dataDir, loaded)) : [`load: ${refused}`]),
    );
    differences.push(...(await loadOfShell(`shell-${seed}`, path, dirname(path))));
    const loadedHere = Buffer.byteLength(dump) <= LIMITS.maxStatementBytes;
    let imported: ReadonlySet<string> = new Set();
    if (loadedHere) {
      await runScript(target, dump);
      differences.push(...compare('script', tenantFile(dataDir, target)));
    }
    if (loadedHere && rows) {
      imported = await loadRows(byRow, dump, await ask(`${source}/export`));
      const wasImported = (name: string) => imported.has(name.replace(/^(rows|terms) of /, ''));
      differences.push(...compare('ndjson', tenantFile(dataDir, byRow), wasImported));
    }
    await rm(dirname(path), { recursive: true });
    return { seed, ...made, differences, imported: imported.size, loadedHere };
  }

  return {
    run,
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      await broker.stop();
      await redis.stop();
    },
  };
}
