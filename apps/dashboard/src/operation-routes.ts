import { setTimeout as pause } from 'node:timers/promises';
import { noSuchOperation, OperationStore } from '@onewriter/operations';
import { isOnewriterError } from '@onewriter/protocol';
import type { Context } from 'hono';
import type { DashboardEnv } from './dashboard-env.ts';
import type { Parts } from './parts.ts';
import { layout } from './views/layout.ts';
import { errorNotice, type Notice } from './views/notice.ts';
import { operationPage, operationRegions } from './views/operation.ts';
import { operationListPage, operationListRegions } from './views/operation-list.ts';

/** A record changes once a second at most. */
const LOOK_EVERY_MS = 1_000;

/**
 *   GET  /operations            GET …/live
 *   GET  /operations/:id        GET …/:id/live
 *   POST /operations/backup     of all tenants
 *   POST /operations/:id/cancel
 */
export function addOperationRoutes({ app, redis, group, streams, gateway, audit }: Parts): void {
  const store = new OperationStore(redis, group);

  app.get('/operations', c => showList(c));

  app.get('/operations/live', c =>
    streams.answer(c, async function* (signal) {
      while (!signal.aborted) {
        yield operationListRegions(await store.list(), Date.now());
        await nextLook(signal);
      }
    }),
  );

  app.post('/operations/backup', async c => {
    const { token } = c.get('operator');
    try {
      const id = await gateway.startBackup(undefined, { token, signal: c.req.raw.signal });
      return c.redirect(`/operations/${id}`, 303);
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      return showList(c, errorNotice(error, 'No backup was started'), error.status);
    }
  });

  app.get('/operations/:id', async c => {
    const operation = await store.get(c.req.param('id'));
    const { id } = operation;
    const content = operationPage(operation);
    const place = {
      title: `Operation ${id}`,
      place: 'operations',
      live: `/operations/${id}/live`,
      group,
    } as const;
    return c.html(layout(place, content));
  });

  app.get('/operations/:id/live', async c => {
    const { id } = await store.get(c.req.param('id'));
    return streams.answer(c, async function* (signal) {
      while (!signal.aborted) {
        yield operationRegions(await store.get(id));
        await nextLook(signal);
      }
    });
  });

  app.post('/operations/:id/cancel', async c => {
    const id = c.req.param('id');
    const operation = await store.find(id);
    if (operation === undefined) throw noSuchOperation(id);
    const { tenants } = operation;
    const operator = c.get('operator');
    await audit.record('operation.cancel', tenants?.length === 1 ? tenants[0]! : '', id, () =>
      store.cancel(id, operator.subject || `token ${operator.id}`),
    );
    return c.redirect(`/operations/${id}`, 303);
  });

  async function showList(c: Context<DashboardEnv>, notice?: Notice, status = 200): Promise<Response> {
    const content = operationListPage(await store.list(), Date.now(), notice);
    const page = layout(
      { title: 'Operations', place: 'operations', live: '/operations/live', group },
      content,
    );
    return c.html(page, status as 200);
  }
}

/** Resolves at the next look, or when the signal fires. */
async function nextLook(signal: AbortSignal): Promise<void> {
  await pause(LOOK_EVERY_MS, undefined, { signal }).catch((error: Error) => {
    if (error.name !== 'AbortError') throw error;
  });
}
