import { expect, it } from 'vitest';
import { judgeDropInUses, judgeTokenless } from './check-drop-in.ts';

const networks = (...cidrs: string[]) =>
  [
    '# TYPE onewriter_gateway_tokenless_networks gauge',
    ...cidrs.map(cidr => `onewriter_gateway_tokenless_networks{network="${cidr}"} 1`),
    'onewriter_gateway_tokenless_requests_total{result="admitted"} 3',
  ].join('\n');

it('says which networks need no token', () => {
  expect(judgeTokenless(networks())).toMatchObject({ level: 'ok', next: null });
  expect(judgeTokenless(networks('10.0.0.0/8', 'fd00::/8'))).toMatchObject({
    level: 'warning',
    found: expect.stringContaining('10.0.0.0/8, fd00::/8'),
  });
  expect(judgeTokenless(networks('10.0.0.0/8', '::/0')).level).toBe('error');
});

it('says whose clients need a setting', () => {
  expect(judgeDropInUses({})).toEqual([]);
  const counts = { 'strings:acme': '3', 'strings:globex': '12', 'ddl:acme': '1' };
  expect(judgeDropInUses(counts).map(({ found, next }) => `${found} ${next}`)).toEqual([
    expect.stringMatching(/^Drop-in clients of 2 tenants .*: globex \(12\), acme \(3\)\. .*DOUBLE_QUOTES/),
    expect.stringMatching(/^Drop-in clients of 1 tenant .*: acme \(1\)\. .*REPEATED_DDL/),
  ]);
  const many = Object.fromEntries(Array.from({ length: 13 }, (_, n) => [`ddl:t${n}`, '1']));
  expect(judgeDropInUses(many)[0]!.found).toMatch(/and 3 more\.$/);
});
