import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { loadKanbanConfig } from './kanban-config.ts';

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'kanban-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

it('finds the Onewriter that runs on the data directory, unless a Redis is named', () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'onewriter.json'), '{"redisUrl":"redis://here","group":"g","dbFile":"f.db"}');
  const found = loadKanbanConfig({ ONEWRITER_DATA_DIR: folder });
  expect(found).toMatchObject({ redisUrl: 'redis://here', group: 'g', dbFile: 'f.db', port: 3000 });
  const named = loadKanbanConfig({ ONEWRITER_DATA_DIR: folder, ONEWRITER_REDIS_URL: 'redis://there' });
  expect(named).toMatchObject({ redisUrl: 'redis://there', group: undefined, dbFile: undefined });
});

it('reads relative folders from where npm was called', () => {
  const config = loadKanbanConfig({ INIT_CWD: '/srv/app', ONEWRITER_REDIS_URL: 'redis://there' });
  expect(config.dataDir).toBe('/srv/app/data');
});

it('says what is missing or wrong', () => {
  expect(() => loadKanbanConfig({ ONEWRITER_DATA_DIR: newFolder() })).toThrow(/npm start/);
  for (const port of ['-1', '65536', 'x', '1.5']) {
    expect(() => loadKanbanConfig({ ONEWRITER_REDIS_URL: 'redis://x', KANBAN_PORT: port })).toThrow(
      /KANBAN_PORT/,
    );
  }
});
