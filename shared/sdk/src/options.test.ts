import { describe, expect, it } from 'vitest';
import { connect } from './client.ts';
import { resolveOptions } from './options.ts';
import type { ConnectOptions } from './types.ts';

const REDIS = 'redis://127.0.0.1:6379';

describe('resolveOptions', () => {
  it('applies defaults, also where undefined is given', () => {
    const resolved = resolveOptions({
      redis: REDIS,
      dataDir: 'data',
      group: undefined,
      gatewayUrl: 'http://g:1//',
    });
    expect(resolved).toMatchObject({
      group: 'default',
      dbFile: 'tenant.db',
      reads: 'auto',
      writeTimeoutMs: 30_000,
      gatewayUrl: 'http://g:1',
    });
    expect(resolved.dataDir).toMatch(/^\/.*\/data$/);
  });

  it.each<[string, object]>([
    ['redis', {}],
    ['redis', { redis: 'localhost:6379' }],
    ['redis', { redis: 'http://localhost' }],
    ['redis', { redis: {} }],
    ['gatewayUrl', { redis: REDIS, gatewayUrl: 'gateway' }],
    ['dataDir', { redis: REDIS, dataDir: '' }],
    ['group', { redis: REDIS, group: 'a b' }],
    ['group', { redis: REDIS, group: '{x}' }],
    ['dbFile', { redis: REDIS, dbFile: '../x.db' }],
    ['reads', { redis: REDIS, reads: 'fast' }],
    ['logger', { redis: REDIS, logger: {} }],
    ['writeTimeoutMs', { redis: REDIS, writeTimeoutMs: 0 }],
    ['writeTimeoutMs', { redis: REDIS, writeTimeoutMs: 1e12 }],
    ['maxOpenReaders', { redis: REDIS, maxOpenReaders: 1.5 }],
  ])('refuses a wrong %s: %j', (option, options) => {
    let message = '';
    try {
      resolveOptions(options as ConnectOptions);
    } catch (error) {
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
      message = (error as Error).message;
    }
    expect(message).toContain(option);
  });

  it('keeps the password of a URL out of the message', () => {
    expect(() => resolveOptions({ redis: 'http://user:secret@host' })).toThrow(/^(?!.*secret)/);
  });
});

describe('connect', () => {
  it.each<[string, Partial<ConnectOptions>]>([
    [
      'a folder that does not exist, where files are asked for',
      { dataDir: '/no/such/folder', reads: 'file' },
    ],
    ['files without a folder', { reads: 'file' }],
    ['a gateway without its URL', { reads: 'gateway' }],
  ])('refuses %s', async (_, options) => {
    await expect(connect({ redis: REDIS, ...options })).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  });

  it('says that Redis is not there', async () => {
    const started = performance.now();
    await expect(connect({ redis: 'redis://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'QUEUE_UNAVAILABLE',
    });
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
