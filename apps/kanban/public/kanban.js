import { Api, ApiError } from './api.js';
import { drawBoard } from './board-view.js';
import { openCardDialog } from './card-dialog.js';
import { element } from './element.js';

/** How often the page asks for news while it is visible. */
const POLL_MS = 1_500;

const byId = id => document.getElementById(id);
const tenant = /^\/t\/([^/]+)/.exec(location.pathname)?.[1];

if (tenant) startBoards(decodeURIComponent(tenant));
else chooseTenant();

function chooseTenant() {
  const form = byId('choose-tenant');
  form.hidden = false;
  form.addEventListener('submit', event => {
    event.preventDefault();
    location.assign(`/t/${new FormData(form).get('tenant')}`);
  });
}

function startBoards(tenantId) {
  const api = new Api(tenantId);
  const dialog = byId('card-dialog');
  let boardId = new URLSearchParams(location.search).get('board');
  let overview = null;
  /** Ends the wait for the next poll. */
  let timer = 0;

  document.title = `Kanban · ${tenantId}`;
  byId('tenant').textContent = tenantId;
  for (const id of ['new-board', 'me-field', 'board', 'aside']) byId(id).hidden = false;

  // Who I am: an id of this browser for this tenant; the name can change.
  const memberKey = `kanban.${tenantId}.member`;
  const me = JSON.parse(localStorage.getItem(memberKey) ?? 'null') ?? { id: crypto.randomUUID(), name: '' };
  byId('me').value = me.name;
  if (me.name !== '') api.memberId = me.id;
  byId('me').addEventListener('change', async event => {
    me.name = event.target.value.trim();
    if (me.name !== '' && !(await attempt(() => api.call('PUT', `/members/${me.id}`, { name: me.name }))))
      return;
    api.memberId = me.name === '' ? null : me.id;
    localStorage.setItem(memberKey, JSON.stringify(me));
    await refresh();
  });

  byId('board-select').addEventListener('change', event => showBoard(event.target.value));
  byId('new-board').addEventListener('submit', async event => {
    event.preventDefault();
    const form = event.currentTarget;
    const id = crypto.randomUUID();
    const title = new FormData(form).get('title');
    if (!(await attempt(() => api.call('POST', '/boards', { id, title }), `Board ${title} created`))) return;
    form.reset();
    await showBoard(id);
  });
  byId('rename-board').addEventListener('click', async () => {
    const title = prompt('New title of the board', overview.board.title)?.trim();
    if (title) await change(() => api.call('PATCH', `/boards/${overview.board.id}`, { title }));
  });
  byId('delete-board').addEventListener('click', async () => {
    if (!confirm(`Delete the board “${overview.board.title}” with all its cards?`)) return;
    await change(() => api.call('DELETE', `/boards/${overview.board.id}`), 'Board deleted');
  });

  const actions = {
    open: card => attempt(() => openCardDialog(dialog, card.id, context())),
    move: (card, column, position) =>
      change(
        () => api.call('POST', `/cards/${card.id}/move`, { columnId: column.id, position }),
        `#${card.ticket} is now number ${position + 1} in ${column.title}`,
      ),
    addCard: (column, title) =>
      change(
        () => api.call('POST', `/columns/${column.id}/cards`, { title }),
        `Card added to ${column.title}`,
      ),
    addColumn: title =>
      change(() => api.call('POST', `/boards/${overview.board.id}/columns`, { title }), 'Column added'),
    renameColumn: async column => {
      const title = prompt('New title of the column', column.title)?.trim();
      if (title) await change(() => api.call('PATCH', `/columns/${column.id}`, { title }));
    },
    deleteColumn: async column => {
      const question = `Delete the column “${column.title}” with its ${column.cards.length} cards?`;
      if (column.cards.length > 0 && !confirm(question)) return;
      await change(() => api.call('DELETE', `/columns/${column.id}`), 'Column deleted');
    },
  };
  const context = () => ({ api, members: overview?.members ?? [], attempt, onchange: refresh });

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) void refresh();
  });
  void refresh();

  async function showBoard(id) {
    boardId = id;
    history.replaceState(null, '', `?board=${encodeURIComponent(id)}`);
    await refresh();
  }

  /** Asks for news at once, draws them, and asks again later. */
  async function refresh() {
    clearTimeout(timer);
    try {
      const news = await api.overview(boardId);
      showProblem(null);
      if (news) overview = news;
      // What changed during a drag is drawn after it: the dragged element must stay.
      if (news || byId('board').dataset.stale) draw();
    } catch (error) {
      showProblem(error);
    }
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(refresh, POLL_MS);
  }

  function draw() {
    const container = byId('board');
    if (container.querySelector('.dragged')) {
      container.dataset.stale = 'true';
      return;
    }
    delete container.dataset.stale;
    const { board, boards, members } = overview;
    boardId = board?.id ?? null;
    byId('board-controls').hidden = board === null;
    byId('board-select').replaceChildren(
      ...boards.map(one => element('option', { value: one.id, selected: one.id === boardId }, one.title)),
    );
    if (board) drawBoard(container, board, members, actions);
    else container.replaceChildren(element('p.welcome', {}, 'No board yet. Create one above.'));
    drawPoints();
    drawActivity();
  }

  function drawPoints() {
    const names = new Map(overview.members.map(member => [member.id, member.name]));
    const now = new Date();
    const current = overview.points.filter(
      one => one.year === now.getUTCFullYear() && one.month === now.getUTCMonth() + 1,
    );
    byId('points').replaceChildren(
      ...current.map(one =>
        element('li', {}, names.get(one.memberId) ?? 'unknown', element('span.count', {}, String(one.total))),
      ),
    );
  }

  function drawActivity() {
    byId('activity').replaceChildren(
      ...overview.activity.map(line =>
        element(
          'li',
          {},
          element('strong', {}, line.memberName ?? 'Unknown'),
          ` ${line.action.replaceAll('-', ' ')} `,
          element('em', {}, line.cardTitle ?? line.details.title ?? line.details.tag ?? ''),
          element(
            'time',
            { datetime: `${line.createdAt.replace(' ', 'T')}Z` },
            `${line.createdAt.slice(11)} UTC`,
          ),
        ),
      ),
    );
  }

  /** Does something on the server and shows its effect. @returns whether it succeeded */
  async function change(action, announcement) {
    const done = await attempt(action, announcement);
    await refresh();
    return done;
  }

  /** @returns whether `action` succeeded; if not, it has shown the error. */
  async function attempt(action, announcement) {
    try {
      await action();
      if (announcement) byId('announcement').textContent = announcement;
      return true;
    } catch (error) {
      showProblem(error);
      return false;
    }
  }

  function showProblem(error) {
    const problem = byId('problem');
    if (error === null) {
      // A refusal stays until its time is over; the next good poll must not wipe it away at once.
      if (Date.now() > Number(problem.dataset.until ?? 0)) problem.hidden = true;
      return;
    }
    if (!(error instanceof ApiError)) console.error(error);
    problem.textContent = error.message;
    problem.dataset.until = String(Date.now() + (error.status === 0 ? 0 : 6_000));
    problem.hidden = false;
    // A modal dialog covers the page: say it there, too.
    if (dialog.open) dialog.prepend(element('p.problem', { role: 'alert' }, error.message));
  }
}
