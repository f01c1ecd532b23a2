import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { etag } from 'hono/etag';
import { secureHeaders } from 'hono/secure-headers';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Registry } from 'prom-client';
import type { z } from 'zod';
import type { BackgroundWrites } from './background-writes.ts';
import type { BoardView } from './board.ts';
import { KanbanError } from './kanban-error.ts';
import type { Page } from './page.ts';
import * as bodies from './request-schemas.ts';
import type { KanbanStore } from './store/kanban-store.ts';
import type { TenantBoards } from './tenant-boards.ts';

/** What the routes work with. */
export interface RoutesOptions {
  readonly boards: TenantBoards;
  readonly background: BackgroundWrites;
  readonly page: Page;
  /** Whether this process accepts new requests; false while it drains. */
  readonly isReady: () => boolean;
  /** Resolves when Redis has answered; rejects where it does not. */
  readonly ping: () => Promise<void>;
  /** Read by `GET /metrics`; absent in tests that do not need it. The route is open, as the rest of this example is. */
  readonly metrics?: Pick<Registry, 'metrics' | 'contentType'> | undefined;
  /** Called for each error that is not the caller's. */
  readonly reportFault: (error: unknown) => void;
}

interface Environment {
  Variables: { store: KanbanStore; memberId: string | null };
}

const MAX_BODY_BYTES = 256 * 1024;

/** Points for what a member does. */
const POINTS = { create: 2, comment: 1, move: 1 } as const;

/**
 * The whole app: the page, and the JSON API of each tenant under `/t/:tenant/api`. The header `x-kanban-member` says
 * who acts: the app has no login, put your own in front.
 */
export function createRoutes(options: RoutesOptions): Hono<Environment> {
  const app = new Hono<Environment>();
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        frameAncestors: ["'none'"],
      },
    }),
  );
  app.use(async (c, next) => {
    await next();
    // A connection that is kept alive would keep the process, too.
    if (!options.isReady()) c.header('connection', 'close');
  });
  app.get('/livez', c => c.json({ status: 'live' }));
  app.get('/readyz', async c => {
    const draining = options.isReady() ? 'ok' : 'The kanban is shutting down.';
    const redis = await options.ping().then(
      () => 'ok',
      error => (error as Error).message,
    );
    const reasons = [draining, redis].filter(outcome => outcome !== 'ok');
    const status = reasons.length === 0 ? 'ready' : 'not ready';
    return c.json({ status, reasons, checks: { draining, redis } }, reasons.length === 0 ? 200 : 503);
  });
  const { metrics } = options;
  if (metrics) {
    app.get('/metrics', async c =>
      c.body(await metrics.metrics(), 200, { 'content-type': metrics.contentType }),
    );
  }
  app.get('/', c => c.html(options.page.html));
  app.get('/t/:tenant', c => c.html(options.page.html));
  app.get('/assets/:file', c => {
    const asset = options.page.assets.get(c.req.param('file'));
    if (!asset) return c.notFound();
    return c.body(asset.text, 200, { 'content-type': asset.type, 'cache-control': 'no-cache' });
  });
  app.route('/t/:tenant/api', createApi(options));
  app.notFound(c => c.json({ error: 'There is no such route.', code: 'NOT_FOUND' }, 404));
  app.onError((error, c) => answerError(error, c, options.reportFault));
  return app;
}

function createApi({ boards, background }: RoutesOptions): Hono<Environment> {
  const api = new Hono<Environment>();
  const refuseSize = () => {
    throw new OnewriterError('PAYLOAD_TOO_LARGE', `A request holds up to ${MAX_BODY_BYTES} bytes.`);
  };
  api.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: refuseSize }));
  api.use(async (c, next) => {
    // A page of another site can make a browser POST text/plain to us, but not JSON.
    if (c.req.method === 'POST' && !c.req.header('content-type')?.startsWith('application/json')) {
      throw new KanbanError('INVALID', 'Send JSON, with content-type: application/json.');
    }
    const memberId = c.req.header('x-kanban-member');
    c.set('memberId', memberId === undefined ? null : check(bodies.memberId, memberId));
    c.set('store', await boards.open(c.req.param('tenant')!));
    await next();
  });

  /** Notes what was done, and rewards it; the answer does not wait for either. */
  const record = (
    c: Context<Environment>,
    action: string,
    about: {
      readonly boardId?: string;
      readonly cardId?: string;
      readonly details?: Record<string, unknown>;
    },
    points = 0,
  ) => {
    const { store, memberId } = c.var;
    const { boardId = null, cardId = null, details } = about;
    background.start(() => store.activity.enqueue({ memberId, action, boardId, cardId, details }));
    if (memberId === null || points === 0) return;
    const now = new Date();
    const month = { year: now.getUTCFullYear(), month: now.getUTCMonth() + 1 };
    background.start(() => store.members.enqueuePoints({ memberId, ...month, total: points }));
  };
  const now = () => new Date().toISOString();

  // All that the page shows, in one answer; polled, so mostly "304 Not Modified".
  api.get('/overview', etag(), async c => {
    const { store } = c.var;
    const all = await store.boards.list();
    const wanted = c.req.query('board');
    const board = all.find(one => one.id === wanted) ?? all[0];
    return c.json({
      boards: all,
      board: board ? await readIfThere(store, board.id) : null,
      members: await store.members.list(),
      points: await store.members.listPoints(),
      activity: await store.activity.list(),
    });
  });

  api.get('/boards', async c => c.json({ boards: await c.var.store.boards.list() }));
  api.post('/boards', async c => {
    const { id, title, columns } = await readBody(c, bodies.newBoardBody);
    await c.var.store.boards.create(
      { id, title, createdAt: now() },
      columns.map(column => ({ id: crypto.randomUUID(), title: column })),
    );
    record(c, 'create-board', { boardId: id, details: { title } });
    return c.json(await c.var.store.boards.read(id), 201);
  });
  api.get('/boards/:board', etag(), async c => c.json(await c.var.store.boards.read(c.req.param('board'))));
  api.patch('/boards/:board', async c => {
    const { title } = await readBody(c, bodies.titleBody);
    await c.var.store.boards.rename(c.req.param('board'), title);
    record(c, 'rename-board', { boardId: c.req.param('board'), details: { title } });
    return c.body(null, 204);
  });
  api.delete('/boards/:board', async c => {
    await c.var.store.boards.delete(c.req.param('board'));
    record(c, 'delete-board', { boardId: c.req.param('board') });
    return c.body(null, 204);
  });

  api.post('/boards/:board/columns', async c => {
    const { id, title } = await readBody(c, bodies.newColumnBody);
    await c.var.store.boards.addColumn(c.req.param('board'), { id, title });
    record(c, 'add-column', { boardId: c.req.param('board'), details: { title } });
    return c.json({ id }, 201);
  });
  api.patch('/columns/:column', async c => {
    const { title } = await readBody(c, bodies.titleBody);
    await c.var.store.boards.renameColumn(c.req.param('column'), title);
    record(c, 'rename-column', { details: { title } });
    return c.body(null, 204);
  });
  api.delete('/columns/:column', async c => {
    await c.var.store.boards.deleteColumn(c.req.param('column'));
    record(c, 'delete-column', {});
    return c.body(null, 204);
  });

  api.post('/columns/:column/cards', async c => {
    const { id, ...fields } = await readBody(c, bodies.newCardBody);
    const ticket = await c.var.store.cards.create({
      id,
      columnId: c.req.param('column'),
      title: fields.title,
      description: fields.description ?? '',
      memberId: fields.memberId ?? null,
      priority: fields.priority ?? 'normal',
      effort: fields.effort ?? null,
      dueDate: fields.dueDate ?? null,
      at: now(),
    });
    record(c, 'create-card', { cardId: id, details: { ticket, title: fields.title } }, POINTS.create);
    return c.json({ id, ticket }, 201);
  });
  api.get('/cards/:card', async c => c.json(await c.var.store.cards.read(c.req.param('card'))));
  api.patch('/cards/:card', async c => {
    const fields = await readBody(c, bodies.editCardBody);
    await c.var.store.cards.edit(c.req.param('card'), fields, now());
    record(c, 'edit-card', { cardId: c.req.param('card'), details: { fields: Object.keys(fields) } });
    return c.body(null, 204);
  });
  api.delete('/cards/:card', async c => {
    await c.var.store.cards.delete(c.req.param('card'));
    record(c, 'delete-card', { cardId: c.req.param('card') });
    return c.body(null, 204);
  });
  api.post('/cards/:card/move', async c => {
    const { columnId, position } = await readBody(c, bodies.moveCardBody);
    const changed = await c.var.store.cards.move(c.req.param('card'), columnId, position, now());
    if (changed > 0) {
      record(c, 'move-card', { cardId: c.req.param('card'), details: { columnId, position } }, POINTS.move);
    }
    return c.json({ changed });
  });
  api.post('/cards/:card/comments', async c => {
    const comment = await readBody(c, bodies.newCommentBody);
    const cardId = c.req.param('card');
    await c.var.store.cards.addComment({ ...comment, cardId, memberId: c.var.memberId, at: now() });
    record(c, 'comment', { cardId }, POINTS.comment);
    return c.json({ id: comment.id }, 201);
  });
  api.put('/cards/:card/tags/:tag', async c => {
    const tag = check(bodies.tagName, c.req.param('tag'));
    await c.var.store.cards.addTag(c.req.param('card'), tag);
    record(c, 'add-tag', { cardId: c.req.param('card'), details: { tag } });
    return c.body(null, 204);
  });
  api.delete('/cards/:card/tags/:tag', async c => {
    const tag = c.req.param('tag');
    await c.var.store.cards.removeTag(c.req.param('card'), tag);
    record(c, 'remove-tag', { cardId: c.req.param('card'), details: { tag } });
    return c.body(null, 204);
  });

  api.get('/members', async c => c.json({ members: await c.var.store.members.list() }));
  api.put('/members/:member', async c => {
    const { name } = await readBody(c, bodies.memberBody);
    await c.var.store.members.put({ id: check(bodies.memberId, c.req.param('member')), name });
    return c.body(null, 204);
  });
  api.get('/points', async c => c.json({ points: await c.var.store.members.listPoints() }));
  api.get('/activity', async c => {
    const limit = check(bodies.activityLimit, c.req.query('limit'));
    return c.json({ activity: await c.var.store.activity.list(limit) });
  });
  return api;
}

/** The board, or null where it was deleted a moment ago. */
async function readIfThere(store: KanbanStore, boardId: string): Promise<BoardView | null> {
  try {
    return await store.boards.read(boardId);
  } catch (error) {
    if (error instanceof KanbanError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}

async function readBody<Schema extends z.ZodType>(
  c: Context<Environment>,
  schema: Schema,
): Promise<z.output<Schema>> {
  let body: unknown;
  try {
    body = await c.req.json();
  } catch (error) {
    // The limit's own error comes from reading the body too, and has its own answer.
    if (error instanceof SyntaxError) throw new KanbanError('INVALID', 'The body is not JSON.');
    throw error;
  }
  return check(schema, body);
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(issue => `${issue.path.join('.') || 'value'}: ${issue.message}`);
  throw new KanbanError('INVALID', problems.join('; '));
}

function answerError(error: Error, c: Context, reportFault: (error: unknown) => void): Response {
  if (error instanceof KanbanError) return c.json({ error: error.message, code: error.code }, error.status);
  const known = isOnewriterError(error)
    ? error
    : new OnewriterError('INTERNAL', 'A fault of the kanban server; its log has the details.');
  if (known.status >= 500) reportFault(error);
  const { retryAfterMs } = known.details;
  if (retryAfterMs !== undefined) c.header('retry-after', String(Math.ceil(retryAfterMs / 1_000)));
  // 499 (the caller went away) is in the table, but no answer can carry it.
  return c.json(
    { error: known.message, code: known.code, retryAfterMs },
    known.status as ContentfulStatusCode,
  );
}
