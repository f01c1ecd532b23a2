import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.ts';
import { parseNetworks } from './networks.ts';

describe('networks', () => {
  it.each([
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['10.0.0.0/8', '::FFFF:10.1.2.3', true],
    ['10.0.0.0/8', '::ffff:11.0.0.1', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.4', false],
    ['192.168.1.0/24, fd00::/8', '192.168.1.255', true],
    ['192.168.1.0/24, fd00::/8', 'fd12::1', true],
    ['192.168.1.0/24,fd00::/8', 'fe80::1', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['::1', '::1', true],
    ['::1', '127.0.0.1', false],
    ['0.0.0.0/0', '203.0.113.7', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '203.0.113.7', false],
    ['::/0', '::ffff:203.0.113.7', false],
    ['', '127.0.0.1', false],
  ])('%j: whether %s is in it', (cidrs, address, expected) => {
    expect(parseNetworks(cidrs).has(address)).toBe(expected);
  });

  it('never has a peer without an address, such as one of a Unix socket', () => {
    expect(parseNetworks('0.0.0.0/0,::/0').has(undefined)).toBe(false);
    expect(parseNetworks('0.0.0.0/0,::/0').has('')).toBe(false);
    expect(parseNetworks('0.0.0.0/0,::/0').has('10.0.0.1, 10.0.0.2')).toBe(false);
  });

  it.each([
    ...[
      '10.0.0.0/33',
      '10.0.0/8',
      '10.0.0.0/',
      '10.0.0.0/8/8',
      'fd00::/129',
      'localhost',
      '*',
      '10.0.0.0/-1',
    ],
    ...['10.0.0.0/8x', '010.0.0.1', '::ffff:10.0.0.0/104', 'fe80::1%eth0'],
  ])('refuses %j, in the setting, too', cidr => {
    expect(() => parseNetworks(`127.0.0.1,${cidr}`)).toThrow(cidr);
    expect(() => loadConfig({ ONEWRITER_DROP_IN_TOKENLESS: cidr })).toThrow(
      /ONEWRITER_DROP_IN_TOKENLESS: .*10\.0\.0\.0\/8/,
    );
  });
});
