import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(REPOSITORY, 'docs/observe.md'), 'utf8');
const section = page.slice(page.indexOf('\n## Metrics'), page.indexOf('\n## Prometheus and Grafana'));
/** Those of the replica are on its own page. */
const replication = readFileSync(join(REPOSITORY, 'docs/replication.md'), 'utf8');
const tables = [section.slice(section.indexOf('\n|')), replication.slice(replication.indexOf('\n## Metrics'))]
  .join('\n')
  .match(/^(?:\||Everywhere:).*$/gm)!
  .join('\n');
const named = new Set(
  [...tables.matchAll(/`([a-z_]+[a-z])(?:\{[a-z,]+\})?`/g)].map(([, name]) => `onewriter_${name}`),
);

/** The code that defines metrics. */
const code = [
  'shared/protocol',
  'shared/runtime',
  'shared/sdk',
  'workers/broker',
  'apps/gateway',
  'apps/dashboard',
]
  .flatMap(folder => sources(join(REPOSITORY, folder, 'src')))
  .filter(path => /metrics[^/]*\.ts$/.test(path))
  .map(path => readFileSync(path, 'utf8'))
  .join('\n');
// Most names of the client are put together from this prefix.
const defined = new Set(
  code.match(/(?<=['`])onewriter_[a-z_]+[a-z]/g)?.filter(name => name !== 'onewriter_client'),
);

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

it('names every metric', () => {
  expect(defined.size).toBeGreaterThan(60);
  expect([...defined].filter(name => !named.has(name))).toEqual([]);
});

it('names no metric that there is not', () => {
  const inClient = (name: string) => code.includes(`'${name.replace(/^onewriter_client_|_total$/g, '')}'`);
  expect([...named].filter(name => !defined.has(name) && !inClient(name))).toEqual([]);
});
