import { expect, it } from 'vitest';
import { HttpMetrics } from './http-metrics.ts';

const sources = (http: HttpMetrics) => {
  const all = http.sources(() => ({ read: 10, written: 20 }));
  return (name: string) => all.find(source => source.name === name)!.read();
};

async function answer(http: HttpMetrics, method: string, route: string, status: number): Promise<void> {
  await http.middleware(() => route)({ req: { method }, res: { status } }, async () => {});
}

it('counts requests by the pattern of their route, and what no route answers as one', async () => {
  const http = new HttpMetrics();
  for (const status of [200, 200, 500]) await answer(http, 'GET', '/v1/tenants/:tenant', status);
  await answer(http, 'GET', '/*', 404);
  await answer(http, 'PROPFIND', '/*', 404);
  const read = sources(http);
  expect(read('onewriter_http_requests_total')).toEqual([
    { labels: { method: 'GET', route: '/v1/tenants/:tenant', status: 200 }, value: 2 },
    { labels: { method: 'GET', route: '/v1/tenants/:tenant', status: 500 }, value: 1 },
    { labels: { method: 'GET', route: 'none', status: 404 }, value: 1 },
    { labels: { method: 'other', route: 'none', status: 404 }, value: 1 },
  ]);
  expect(read('onewriter_http_sent_bytes_total')).toEqual([{ value: 20, labels: {} }]);
  expect(read('onewriter_http_requests_in_flight')).toEqual([{ value: 0, labels: {} }]);
});

it('bounds the number of series, even if callers choose the route names', async () => {
  const http = new HttpMetrics();
  for (let index = 0; index < 1_000; index++) await answer(http, 'GET', `/${index}`, 200);
  expect(sources(http)('onewriter_http_requests_total')).toHaveLength(301);
});
