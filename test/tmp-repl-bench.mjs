import { startRedis, startService, spawnProcess } from '@onewriter/testkit';
import { connect } from '@onewriter/sdk';
import fs from 'node:fs';
const ls = '/work/main/node_modules/@flydotio/litestream-linux-x64/litestream';
const turnMs = Number(process.argv[2] ?? 4000), rounds = Number(process.argv[3] ?? 3);
async function contestant(name, env, withLitestream = false) {
  const redis = await startRedis({ appendonly: 'everysec' }); const dir = fs.mkdtempSync('/tmp/rb-'); fs.mkdirSync(dir + '/d'); fs.mkdirSync(dir + '/s');
  const broker = await startService('broker', { redisUrl: redis.url, dataDir: dir + '/d', env: Object.fromEntries(Object.entries(env).map(([k, v]) => [k, v.replace('DIR', dir)])) });
  const c = await connect({ redis: redis.url });
  const db = c.tenant('acme'); await db.exec('CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, body TEXT); CREATE INDEX k ON item(key)');
  let l; if (withLitestream) l = await spawnProcess(ls, ['replicate', dir + '/d/tenants/acme/tenant.db', `file://${dir}/s`], { env: {} });
  const ins = db.prepare("INSERT INTO item(key, body) VALUES (hex(randomblob(16)), 'forty characters of text in every row...')");
  const turn = async callers => { const lat = []; let n = 0; const end = performance.now() + turnMs; const t0 = performance.now(); const one = async () => { while (performance.now() < end) { const s = performance.now(); await ins.run(); lat.push(performance.now() - s); n++; } }; await Promise.all(Array.from({ length: callers }, one)); lat.sort((a, b) => a - b); return { perS: n / (performance.now() - t0) * 1000, p50: lat[lat.length >> 1], p99: lat[Math.floor(lat.length * .99)] }; };
  return { name, turn, wal: () => fs.statSync(dir + '/d/tenants/acme/tenant.db-wal').size, stop: async () => { await c.close(); if (l) await l.stop(); await broker.stop(); await redis.stop(); fs.rmSync(dir, { recursive: true, force: true }); } };
}
const R = { ONEWRITER_REPLICA_URL: 'file://DIR/s' };
const list = [await contestant('off', {}), await contestant('async', R), await contestant('sync', { ...R, ONEWRITER_REPLICA_MODE: 'sync' }), await contestant('litestream', {}, true)];
const res = {};
for (const callers of [1, 64, 256]) for (let r = 0; r < rounds; r++) for (const c of list) { const m = await c.turn(callers); (res[callers] ??= {}); (res[callers][c.name] ??= []).push(m); }
const med = a => a.sort((x, y) => x - y)[a.length >> 1];
for (const [callers, by] of Object.entries(res)) { const base = med(by.off.map(m => m.perS)); console.log(callers, Object.entries(by).map(([n, ms]) => `${n}: ${Math.round(med(ms.map(m => m.perS)))}/s ${(med(ms.map(m => m.perS)) / base).toFixed(2)}x p50 ${med(ms.map(m => m.p50)).toFixed(1)} p99 ${med(ms.map(m => m.p99)).toFixed(1)}`).join(' | ')); }
for (const c of list) console.log(c.name, 'wal MB', (c.wal() / 1e6).toFixed(1));
for (const c of list) await c.stop(); process.exit();
