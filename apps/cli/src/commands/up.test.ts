import { describe, expect, it } from 'vitest';
import { UsageError } from '../usage-error.ts';
import { applyOptions, parseBrokers } from './up.ts';

describe('parseBrokers', () => {
  it.each([
    [undefined, 1],
    ['1', 1],
    ['4', 4],
  ])('takes %s', (text, count) => {
    expect(parseBrokers(text)).toBe(count);
  });

  it.each(['0', '5', '-1', '2.0', 'two', ''])('refuses "%s"', text => {
    expect(() => parseBrokers(text)).toThrow('--brokers is a number from 1 to 4.');
  });
});

describe('applyOptions', () => {
  it('lets options win over the environment', () => {
    const environment = { ONEWRITER_GATEWAY_PORT: '1', ONEWRITER_THREADS: '2' };
    expect(applyOptions(environment, { gatewayPort: '8080' })).toEqual({
      ONEWRITER_GATEWAY_PORT: '8080',
      ONEWRITER_THREADS: '2',
    });
  });

  it.each([
    [{ gatewayPort: '99999' }, '--gateway-port: '],
    [{ dashboardPort: '-1' }, '--dashboard-port: '],
    [{ threads: '0' }, '--threads: '],
    [{ threads: 'many' }, '--threads: '],
    [{ redisUrl: '' }, '--redis-url: it is empty'],
    [{ dataDir: '' }, '--data-dir: it is empty'],
  ])('names the option of %j, not a variable', (options, start) => {
    const refuse = () => applyOptions({}, options);
    expect(refuse).toThrow(UsageError);
    expect(refuse).toThrow(start);
    expect(refuse).not.toThrow('ONEWRITER_');
  });
});
