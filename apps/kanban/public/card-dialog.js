import { element } from './element.js';

/**
 * Opens the dialog of one card. Its three parts (fields, tags, comments) are saved on their own; what is typed in
 * one stays when another is redrawn.
 *
 * @param {HTMLDialogElement} dialog
 * @param {string} cardId
 * @param {{ api: import('./api.js').Api, members: object[], onchange(): Promise<void>,
 *   attempt(action: () => Promise<unknown>, announcement?: string): Promise<boolean> }} context
 */
export async function openCardDialog(dialog, cardId, context) {
  const card = await context.api.call('GET', `/cards/${cardId}`);
  dialog.replaceChildren(
    element(
      'header.dialog-header',
      {},
      element('h2', { id: 'card-dialog-title' }, `Card #${card.ticket}`),
      element('button.icon', { type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, '×'),
    ),
    drawFields(dialog, card, context),
    drawTags(card, context),
    drawComments(card, context),
  );
  if (!dialog.open) dialog.showModal();
}

/** Does something to the card, then redraws one part, with the focus where the person continues typing. */
async function changePart(part, draw, cardId, context, action, announcement) {
  if (!(await context.attempt(action, announcement))) return;
  const redraw = async () => {
    const card = await context.api.call('GET', `/cards/${cardId}`);
    const fresh = draw(card, context);
    part.replaceWith(fresh);
    fresh.querySelector('input, textarea').focus();
  };
  await context.attempt(redraw);
  await context.onchange();
}

function drawFields(dialog, card, { api, members, attempt, onchange }) {
  const finish = async (action, announcement) => {
    if (!(await attempt(action, announcement))) return;
    dialog.close();
    await onchange();
  };
  const save = async event => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const fields = {
      title: form.get('title').trim(),
      description: form.get('description').replaceAll('\r\n', '\n'),
      memberId: form.get('memberId') || null,
      priority: form.get('priority'),
      effort: form.get('effort') === '' ? null : Number(form.get('effort')),
      dueDate: form.get('dueDate') || null,
    };
    // Only what was changed here is sent, so that others' changes to other fields stay.
    const changed = Object.fromEntries(
      Object.entries(fields).filter(([name, value]) => card[name] !== value),
    );
    if (Object.keys(changed).length === 0) dialog.close();
    else await finish(() => api.call('PATCH', `/cards/${card.id}`, changed), 'Card saved');
  };
  const remove = async () => {
    if (!confirm(`Delete #${card.ticket} with its comments?`)) return;
    await finish(() => api.call('DELETE', `/cards/${card.id}`), 'Card deleted');
  };
  const memberChoices = [['', 'no one'], ...members.map(member => [member.id, member.name])];
  const priorityChoices = ['low', 'normal', 'high'].map(value => [value, value]);
  return element(
    'form.fields',
    { onsubmit: save },
    field('Title', element('input', { name: 'title', value: card.title, required: true, maxlength: 200 })),
    field(
      'Description',
      element('textarea', { name: 'description', rows: 4, maxlength: 20_000, value: card.description }),
    ),
    element(
      'div.row',
      {},
      field('Assigned to', choice('memberId', card.memberId ?? '', memberChoices)),
      field('Priority', choice('priority', card.priority, priorityChoices)),
      field(
        'Effort',
        element('input', { name: 'effort', type: 'number', min: 0, max: 1000, value: card.effort ?? '' }),
      ),
      field('Due', element('input', { name: 'dueDate', type: 'date', value: card.dueDate ?? '' })),
    ),
    element(
      'div.row.actions',
      {},
      element('button.primary', { type: 'submit' }, 'Save'),
      element('button.danger', { type: 'button', onclick: remove }, 'Delete card'),
    ),
  );
}

function drawTags(card, context) {
  const path = tag => `/cards/${card.id}/tags/${encodeURIComponent(tag)}`;
  const change = action => changePart(part, drawTags, card.id, context, action);
  const add = event => {
    event.preventDefault();
    const tag = new FormData(event.currentTarget).get('tag').trim();
    return change(() => context.api.call('PUT', path(tag), {}));
  };
  const part = element(
    'section',
    { 'aria-labelledby': 'tags-title' },
    element('h3', { id: 'tags-title' }, 'Tags'),
    element(
      'ul.tags',
      {},
      ...card.tags.map(tag =>
        element(
          'li',
          {},
          tag,
          element(
            'button.icon',
            {
              type: 'button',
              'aria-label': `Remove tag ${tag}`,
              onclick: () => change(() => context.api.call('DELETE', path(tag))),
            },
            '×',
          ),
        ),
      ),
    ),
    element(
      'form.inline',
      { onsubmit: add },
      element('input', {
        name: 'tag',
        'aria-label': 'New tag',
        placeholder: 'New tag',
        required: true,
        maxlength: 50,
      }),
      element('button', { type: 'submit' }, 'Add tag'),
    ),
  );
  return part;
}

function drawComments(card, context) {
  const names = new Map(context.members.map(member => [member.id, member.name]));
  const add = event => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const url = form.get('link').trim();
    const attachments = url === '' ? [] : [{ name: new URL(url).hostname, url }];
    const comment = { text: form.get('text'), attachments };
    const action = () => context.api.call('POST', `/cards/${card.id}/comments`, comment);
    return changePart(part, drawComments, card.id, context, action, 'Comment added');
  };
  const part = element(
    'section',
    { 'aria-labelledby': 'comments-title' },
    element('h3', { id: 'comments-title' }, `Comments (${card.comments.length})`),
    element(
      'ol.comments',
      {},
      ...card.comments.map(comment =>
        element(
          'li',
          {},
          element(
            'p.facts',
            {},
            element('strong', {}, names.get(comment.memberId) ?? 'Anonymous'),
            element('time', { datetime: comment.createdAt }, new Date(comment.createdAt).toLocaleString()),
          ),
          element('p.text', {}, comment.text),
          ...comment.attachments.map(file =>
            element('a', { href: file.url, rel: 'noreferrer noopener', target: '_blank' }, file.name),
          ),
        ),
      ),
    ),
    element(
      'form.fields',
      { onsubmit: add },
      field('New comment', element('textarea', { name: 'text', rows: 2, required: true, maxlength: 20_000 })),
      field(
        'Link (optional)',
        element('input', { name: 'link', type: 'url', pattern: 'https?://.*', placeholder: 'https://…' }),
      ),
      element('button', { type: 'submit' }, 'Comment'),
    ),
  );
  return part;
}

function field(label, control) {
  return element('label.field', {}, element('span', {}, label), control);
}

function choice(name, selected, options) {
  return element(
    'select',
    { name },
    ...options.map(([value, text]) =>
      element('option', { value, selected: value === selected ? 'selected' : false }, text),
    ),
  );
}
