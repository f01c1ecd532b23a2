import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { resolveOptions } from '../options.ts';
import type { ConnectOptions } from '../types.ts';
import { chooseReads } from './choose-reads.ts';

const GATEWAY = { gatewayUrl: 'http://127.0.0.1:1' };
const ABSENT = { dataDir: '/no/such/folder' };

function choose(options: Partial<ConnectOptions>) {
  const said: string[] = [];
  const logger = { warn: (_: object, message: string) => said.push(message), error: () => {} };
  const { reads, owner } = chooseReads(resolveOptions({ redis: 'redis://127.0.0.1:1', logger, ...options }));
  onTestFinished(() => reads.close());
  return { route: reads.route, mayAskOwner: owner !== undefined, said };
}

function localFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-reads-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

it.each([
  ['nothing but Redis', {}, 'owner'],
  ['a gateway', GATEWAY, 'gateway'],
  ['a folder that is not here', ABSENT, 'owner'],
  ['a folder that is not here, and a gateway', { ...ABSENT, ...GATEWAY }, 'gateway'],
  ['the owner, by hand', { ...GATEWAY, reads: 'owner' }, 'owner'],
] as const)('%s: reads through the %s', (_, options, route) => {
  const { said, ...chosen } = choose(options);
  expect(chosen).toEqual({ route, mayAskOwner: route === 'owner' });
  if (!('dataDir' in options)) expect(said).toEqual([]);
  else expect(said).toEqual([expect.stringMatching(`does not exist here: reading through the ${route}`)]);
});

it('reads files that are here; all may ask the owner to bring a hibernated one back', () => {
  const dataDir = localFolder();
  expect(choose({ dataDir })).toEqual({ route: 'file', mayAskOwner: true, said: [] });
  expect(choose({ dataDir, ...GATEWAY })).toMatchObject({ route: 'file', mayAskOwner: true });
  expect(choose({ dataDir, reads: 'file' })).toMatchObject({ route: 'file', mayAskOwner: true });
});
