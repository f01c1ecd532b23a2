import { EventEmitter } from 'node:events';
import { expect, it, onTestFinished, vi } from 'vitest';
import { explainReply, isNotNow, problemOfReply, REDIS_PROBLEMS, RedisGuard } from './redis-guard.ts';

/** What a guard needs of ioredis' Redis. */
class Connection extends EventEmitter {
  readonly connector = { check: (_: object) => true };
  readonly options = {
    reconnectOnError: undefined as unknown as (error: Error) => boolean,
    retryStrategy: (times: number) => times,
  };
  /** Answered at once, or refused. */
  reply: Error | string = 'role:master';
  info(...args: unknown[]): string {
    const callback = args.at(-1) as (error: Error | null, answer?: unknown) => void;
    if (typeof callback === 'function') {
      if (this.reply instanceof Error) callback(this.reply);
      else callback(null, this.reply);
    }
    return 'a promise of the same';
  }
  duplicate(): Connection {
    return new Connection();
  }
  connects = 0;
  async connect(): Promise<void> {
    this.connects++;
  }
  /** Ends a connection, as ioredis does at once where it is being made. */
  disconnect(reconnect = false): void {
    if (!reconnect) this.emit('end');
  }
  async quit(): Promise<'OK'> {
    this.emit('end');
    return 'OK';
  }
}

function guarded() {
  const lines: string[] = [];
  const note = (_: object, message: string) => void lines.push(message);
  const guard = new RedisGuard({ info: note, warn: note, error: note });
  return { guard, lines, connection: guard.attach(new Connection()) };
}

function replyError(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' });
}

it('lets ioredis continue silently where INFO is not allowed, and answers all others as before', () => {
  const { connection } = guarded();
  const ask = () => {
    const answers: unknown[] = [];
    connection.info((...answer: unknown[]) => void answers.push(answer));
    return answers;
  };
  expect(ask()).toEqual([[null, 'role:master']]);
  connection.reply = replyError("NOPERM this user has no permissions to run the 'info' command");
  expect(ask()).toEqual([[null, '']]);
  connection.reply = replyError('LOADING Redis is loading the dataset in memory');
  expect(ask()).toEqual([[connection.reply, undefined]]);
  expect(connection.info('memory')).toBe('a promise of the same');
});

it('keeps off replicas and clusters, says so once, and again when it lasts', () => {
  const { guard, lines, connection } = guarded();
  for (let failures = 1; failures <= 10; failures++) {
    expect(connection.connector.check({ role: 'slave' })).toBe(false);
  }
  expect(guard.refusal).toMatchObject({ code: 'QUEUE_UNAVAILABLE', message: REDIS_PROBLEMS.replica });
  expect(lines).toEqual([
    expect.stringMatching(/^This Redis is a replica .*Connecting again/),
    expect.stringMatching(/^This Redis is a replica .*Still so after 10 connections/),
  ]);
  expect(connection.connector.check({ role: 'master', cluster_enabled: '0' })).toBe(true);
  expect(guard.refusal).toBeUndefined();
  expect(lines.at(-1)).toBe('Redis serves again');
  expect(connection.connector.check({ role: 'master', cluster_enabled: '1' })).toBe(false);
  expect(guard.refusal).toMatchObject({ code: 'MISCONFIGURED', message: REDIS_PROBLEMS.cluster });
});

it('accepts a server whose role the user may not read', () => {
  const { guard, connection } = guarded();
  expect(connection.connector.check({})).toBe(true);
  expect(guard.problem).toBeUndefined();
});

it('gives a connection up once, however many commands are answered alike, with growing pauses', () => {
  const { connection } = guarded();
  const reply = replyError("READONLY You can't write against a read only replica.");
  const { options } = connection;
  expect([1, 2, 3].map(() => options.reconnectOnError(reply))).toEqual([true, false, false]);
  for (let failures = 2; failures <= 4; failures++) {
    connection.emit('close');
    expect(options.reconnectOnError(reply)).toBe(true);
    expect(options.retryStrategy(1)).toBe(failures);
  }
  expect(options.reconnectOnError(replyError('WRONGTYPE Operation against a key'))).toBe(false);
});

it('guards copies, too', () => {
  const { guard, connection } = guarded();
  expect(connection.duplicate().connector.check({ role: 'slave' })).toBe(false);
  expect(guard.problem).toBe('replica');
});

it.each([
  ['READONLY You can’t write against a read only replica. script: 1f, on @user_script:1.', 'replica', true],
  ['ERR Error running script (call to f_1f): @user_script:1: -READONLY You can’t write', 'replica', true],
  ['MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to no.', 'replica', true],
  ['LOADING Redis is loading the dataset in memory', 'loading', true],
  ['MOVED 3999 127.0.0.1:6381', 'cluster', false],
  ['CLUSTERDOWN Hash slot not served', 'cluster', true],
  ["CROSSSLOT Keys in request don't hash to the same slot", 'cluster', false],
  ['UNBLOCKED force unblock from blocking operation', undefined, true],
  ['NOSCRIPT No matching script.', undefined, true],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', undefined, false],
] as const)('reads "%s"', (message, kind, notNow) => {
  expect(problemOfReply(message)).toBe(kind);
  expect(isNotNow(message)).toBe(notNow);
});

it('explains missing rights, also those of a managed Redis, and nothing else', () => {
  const missing = explainReply(replyError("NOPERM User app has no permissions to run the 'info' command"));
  expect(missing).toMatchObject({ code: 'MISCONFIGURED', message: expect.stringContaining('+info') });
  expect(explainReply(replyError("ERR unknown command 'CONFIG'"))?.code).toBe('MISCONFIGURED');
  const inScript =
    "ERR The user executing the script can't run this command or subcommand script: 1, on @user_script:4.";
  expect(explainReply(replyError(inScript))?.code).toBe('MISCONFIGURED');
  expect(explainReply(replyError('WRONGTYPE x'))).toBeUndefined();
  expect(explainReply(new Error('NOPERM'))).toBeUndefined();
});

it('connects again where a connection ends that its owner did not end', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { connection } = guarded();
  connection.emit('end');
  connection.disconnect(true);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connection.connects).toBe(1);
  // It ends again: that attempt failed.
  connection.emit('end');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connection.connects).toBe(2);
  connection.disconnect();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connection.connects).toBe(2);
  const other = guarded().connection;
  await other.quit();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(other.connects).toBe(0);
});
