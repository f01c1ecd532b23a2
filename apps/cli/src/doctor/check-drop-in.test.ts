import { expect, it } from 'vitest';
import { judgeTokenless } from './check-drop-in.ts';

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
