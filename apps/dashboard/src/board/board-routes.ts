import { createBullBoard } from '@bull-board/api';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { assertTenantId, OnewriterError, TENANT_ID_PATTERN } from '@onewriter/protocol';
import type { Parts } from '../parts.ts';
import { createLetterActions } from '../tenants/letter-actions.ts';
import { BoardQueues } from './board-queues.ts';
import { QueueFactory } from './queue-factory.ts';

const BOARD_PATH = '/queues';
const LETTERS = `${BOARD_PATH}/api/queues/dead-letters`;
/** All that may be changed from the board: dead letters can be sent again, and dropped. */
const ALLOWED_CHANGE = /^\/queues\/api\/queues\/dead-letters\/(?:clean\/[\w-]+|[^/]+\/(?:clean|retry))$/;
/**
 * Bull Board keeps a person's settings in the browser and shows JSON three levels deep by default, which would
 * fold away the statements of a job. A person's own setting is kept.
 */
const BOARD_DEFAULTS = `
const key = 'board-settings';
try {
  if (localStorage.getItem(key) === null) {
    localStorage.setItem(key, JSON.stringify({ state: { defaultCollapseDepth: 10 }, version: 2 }));
  }
} catch {} // storage is switched off: the board has its own defaults
`;
const BOARD_DEFAULTS_PATH = '/board-defaults.js';
/** Bull Board's page loads fonts from a CDN; the content security policy would refuse that with an error. */
const REMOTE_FONTS = /<link\s+href="https:\/\/fonts\.googleapis\.com[^>]*>/;

/** Adds Bull Board under `/queues`, and what keeps its list of queues. */
export async function addBoard({
  app,
  redis,
  group,
  log,
  letters,
  audit,
}: Parts): Promise<{ close(): Promise<void> }> {
  const queues = new QueueFactory(redis, group);
  const deadLetters = queues.deadLetters(createLetterActions(letters, audit));
  const adapter = new HonoAdapter(serveStatic);
  adapter.setBasePath(BOARD_PATH);
  const board = createBullBoard({
    queues: [],
    serverAdapter: adapter,
    options: {
      uiConfig: {
        boardTitle: 'Onewriter',
        showWorkers: false, // else CLIENT LIST per queue and poll
        hideDocsLink: true,
        miscLinks: [
          { text: 'Overview', url: '/' },
          { text: 'Find a tenant', url: '/tenants' },
          { text: 'Audit', url: '/audit' },
          { text: 'Log out', url: '/logout' },
        ],
      },
    },
  });
  const boardQueues = new BoardQueues({ redis, group, queues, deadLetters, show: board.replaceQueues, log });
  await boardQueues.start();

  app.get(BOARD_DEFAULTS_PATH, c => c.body(BOARD_DEFAULTS, 200, { 'content-type': 'text/javascript' }));

  // A search, or a link to a tenant that is not on the board (any more).
  app.use(`${BOARD_PATH}/*`, async (c, next) => {
    const search = c.req.path === BOARD_PATH ? c.req.query('tenant')?.trim() : undefined;
    const tenant = search ?? tenantInPath(c.req.path) ?? tenantInQuery(c.req.query('activeQueue'));
    if (tenant !== undefined && !boardQueues.isShown(tenant)) {
      const known = TENANT_ID_PATTERN.test(tenant) && (await boardQueues.ask(tenant));
      if (!known && search !== undefined)
        return c.redirect(`/tenants?${new URLSearchParams({ q: search.slice(0, 63) })}`);
    }
    if (search !== undefined) return c.redirect(`${BOARD_PATH}/queue/tenant.${assertTenantId(search)}`);
    const reads = c.req.method === 'GET' || c.req.method === 'HEAD';
    if (c.req.method === 'PUT' && c.req.path === `${LETTERS}/retry/failed`) {
      return c.json(await deadLetters.adapter.retryAll());
    }
    if (!reads && !ALLOWED_CHANGE.test(c.req.path)) {
      throw new OnewriterError('FORBIDDEN', 'The board looks; it changes dead letters alone.');
    }
    await next();
    if (c.res.headers.get('content-type')?.startsWith('text/html')) {
      const page = (await c.res.text())
        .replace(REMOTE_FONTS, '')
        .replace('<body', `<script src="${BOARD_DEFAULTS_PATH}"></script><body`);
      c.res = new Response(page, c.res);
    }
    return;
  });
  app.route(BOARD_PATH, adapter.registerPlugin());

  return {
    close: async () => {
      await boardQueues.close();
      await queues.close();
    },
  };
}

/** The tenant in `/queues/queue/tenant.acme…` and `/queues/api/queues/tenant.acme…`. */
function tenantInPath(path: string): string | undefined {
  return /^\/queues\/(?:queue|api\/queues)\/tenant\.([a-z0-9-]+)/.exec(path)?.[1];
}

function tenantInQuery(activeQueue: string | undefined): string | undefined {
  return /^tenant\.([a-z0-9-]+)$/.exec(activeQueue ?? '')?.[1];
}
