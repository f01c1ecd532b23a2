import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { CaptureListener, LogCopy } from '../../test-support/log-copy.ts';
import { TemporaryLane, temporaryDataDir, writes } from '../../test-support/temporary-lane.ts';
import { readMessage, readRecords } from '../spool/spool-records.ts';
import type { CaptureMessage } from './capture-messages.ts';

/* What a process captured of a tenant's log, when it is killed at any moment, and what the next one captures. */

/** Processes load the built packages. */
const PACKAGE = new URL('../..', import.meta.url).pathname;
const ROUNDS = 10;

/** Writes until it is killed, and sends what it captures. What was sent counts as stored. */
const WRITER = `
  import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
  import { newJobId, PROTOCOL_VERSION } from '@onewriter/protocol';
  import { CaptureRoom, PROGRESS_BYTES, WriterLane } from '@onewriter/writer';
  const [dataDir, epoch, spool] = process.argv.slice(1);
  const lane = new WriterLane({
    dataDir, dbFile: 'tenant.db', createTenants: true, busyTimeoutMs: 1_000, maxOpenTenants: 4, exclusive: false,
    retentionClock: { id: 'test', offsetMs: 0 }, progress: new SharedArrayBuffer(PROGRESS_BYTES), replicated: true,
  });
  const room = CaptureRoom.create(256 * 1024 * 1024);
  const { port1, port2 } = new MessageChannel();
  lane.run({ kind: 'connect', port: port1, room: room.buffer, spool });
  let done = 0n;
  const send = () => {
    for (let got = receiveMessageOnPort(port2); got !== undefined; got = receiveMessageOnPort(port2)) {
      const { message } = got;
      if (message.kind === 'log') room.giveBack(message.frames.byteLength);
      process.send(message, () => { done = message.order; });
    }
  };
  const apply = (sql, count) => {
    const ops = Array.from({ length: count }, () => ({ s: 0 }));
    const data = JSON.stringify({ v: PROTOCOL_VERSION, client: 'c-1', seq: 1, at: 0, sql: [sql], ops });
    const jobs = [{ id: newJobId(), data }];
    lane.run({ kind: 'apply', tenant: 'acme', epoch: Number(epoch), jobs, flush: 'later' });
  };
  apply('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a, b)', 1);
  const again = number => {
    // Several between two messages: a log is written back, and overwritten by the next ones.
    for (let commit = 0; commit < 40; commit++) {
      apply('INSERT INTO t(a, b) VALUES (random(), randomblob(abs(random()) % 3000))', 1 + (number % 7));
    }
    port2.postMessage({ kind: 'capture', done });
    send();
    setTimeout(again, 1, number + 1);
  };
  again(1);
`;

/** @returns when it was killed; what it sent until then, or left in its spool, is in `copy` */
async function writeUntilKilled(
  dataDir: string,
  epoch: number,
  copy: LogCopy,
  messages: number,
): Promise<void> {
  const spool = join(dataDir, `spool-${epoch}`);
  const args = ['--input-type=module', '-e', WRITER, dataDir, String(epoch), spool];
  const child = spawn(process.execPath, args, {
    cwd: PACKAGE,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let left = messages;
  child.on('message', (message: CaptureMessage) => {
    copy.take(message);
    if (--left === 0) child.kill('SIGKILL');
  });
  await once(child, 'close');
  for (const message of readSpool(spool)) copy.take(message);
  // The numbers of messages begin again with the next process.
  copy.restart();
}

function readSpool(folder: string): CaptureMessage[] {
  const records = readdirSync(folder).flatMap(name => readRecords(join(folder, name)));
  const messages = records.map(record => readMessage(record)!);
  return messages.sort((one, other) => Number(one.order - other.order));
}

function openNext(dataDir: string, copy: LogCopy): { lane: TemporaryLane; listener: CaptureListener } {
  const lane = new TemporaryLane({ dataDir, replicated: true });
  const listener = new CaptureListener([copy]).connect(lane);
  onTestFinished(() => listener.close());
  return { lane, listener };
}

test('the next process captures what a killed one neither sent nor kept: byte for byte the same file', {
  timeout: 120_000,
}, async () => {
  const dataDir = temporaryDataDir();
  const copy = new LogCopy();
  let epoch = 1;
  for (let round = 0; round < ROUNDS; round++) {
    await writeUntilKilled(dataDir, epoch++, copy, 5 + 7 * round);
    const { lane, listener } = openNext(dataDir, copy);
    lane.run([writes('INSERT INTO t(a) VALUES (1)')], { epoch: epoch++ });
    listener.ask();
    lane.lane.run({ kind: 'close', tenant: 'acme' });
    listener.drain();
    copy.restart();
    expect(copy.gaps).toEqual([]);
    expect(copy.image.equals(readFileSync(lane.file)), `round ${round}`).toBe(true);
  }
});

test('a killed process, and another program that writes its log back, are a gap and never a wrong file', {
  timeout: 60_000,
}, async () => {
  const dataDir = temporaryDataDir();
  const copy = new LogCopy();
  await writeUntilKilled(dataDir, 1, copy, 12);
  const { lane, listener } = openNext(dataDir, copy);
  const shell = new Database(lane.file);
  shell.exec('INSERT INTO t(a) VALUES (2)');
  shell.close();
  expect(existsSync(`${lane.file}-wal`)).toBe(false);
  lane.run([writes('INSERT INTO t(a) VALUES (3)')], { epoch: 2 });
  listener.ask();
  expect(copy.gaps[0]).toBe('does not fit');
});
