import { element } from './element.js';

/**
 * The dialog of one card: its fields, tags and comments.
 *
 * @param {HTMLDialogElement} dialog
 * @param {string} cardId
 * @param {{ api: import('./api.js').Api, members: object[], onchange(): Promise<void>, attempt(action): Promise }} context
 */
export async function openCardDialog(dialog, cardId, context) {
  const card = await context.api.call('GET', `/cards/${cardId}`);
  draw(dialog, card, context);
  if (!dialog.open) dialog.showModal();
}

function draw(dialog, card, context) {
  const { api, members, attempt, onchange } = context;
  const refresh = async () => {
    await onchange();
    if (dialog.open) await openCardDialog(dialog, card.id, context);
  };
  const names = new Map(members.map(member => [member.id, member.name]));
  const close = () => dialog.close();

  const save = async event => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const fields = {
      title: form.get('title'),
      description: form.get('description'),
      memberId: form.get('memberId') || null,
      priority: form.get('priority'),
      effort: form.get('effort') === '' ? null : Number(form.get('effort')),
      dueDate: form.get('dueDate') || null,
    };
    // Only what was changed here is sent, so that others' changes to other fields stay.
    const changed = Object.fromEntries(
      Object.entries(fields).filter(([name, value]) => card[name] !== value),
    );
    if (Object.keys(changed).length > 0) {
      const done = await attempt(() => api.call('PATCH', `/cards/${card.id}`, changed), 'Card saved');
      if (!done) return;
    }
    close();
    await onchange();
  };
  const remove = async () => {
    if (!confirm(`Delete #${card.ticket} with its comments?`)) return;
    if (await attempt(() => api.call('DELETE', `/cards/${card.id}`), 'Card deleted')) {
      close();
      await onchange();
    }
  };
  const addTag = async event => {
    event.preventDefault();
    const tag = new FormData(event.currentTarget).get('tag').trim();
    if (await attempt(() => api.call('PUT', `/cards/${card.id}/tags/${encodeURIComponent(tag)}`, {})))
      await refresh();
  };
  const removeTag = async tag => {
    if (await attempt(() => api.call('DELETE', `/cards/${card.id}/tags/${encodeURIComponent(tag)}`)))
      await refresh();
  };
  const addComment = async event => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const url = form.get('link').trim();
    const attachments = url === '' ? [] : [{ name: new URL(url).hostname, url }];
    const comment = { text: form.get('text'), attachments };
    if (await attempt(() => api.call('POST', `/cards/${card.id}/comments`, comment), 'Comment added'))
      await refresh();
  };

  dialog.replaceChildren(
    element(
      'header.dialog-header',
      {},
      element('h2', { id: 'card-dialog-title' }, `Card #${card.ticket}`),
      element('button.icon', { type: 'button', 'aria-label': 'Close', onclick: close }, '×'),
    ),
    element(
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
        field(
          'Assigned to',
          choice('memberId', card.memberId ?? '', [
            ['', 'nobody'],
            ...members.map(member => [member.id, member.name]),
          ]),
        ),
        field(
          'Priority',
          choice(
            'priority',
            card.priority,
            ['low', 'normal', 'high'].map(value => [value, value]),
          ),
        ),
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
    ),
    element('h3', {}, 'Tags'),
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
            { type: 'button', 'aria-label': `Remove tag ${tag}`, onclick: () => removeTag(tag) },
            '×',
          ),
        ),
      ),
    ),
    element(
      'form.inline',
      { onsubmit: addTag },
      element('input', {
        name: 'tag',
        'aria-label': 'New tag',
        placeholder: 'New tag',
        required: true,
        maxlength: 50,
      }),
      element('button', { type: 'submit' }, 'Add tag'),
    ),
    element('h3', {}, `Comments (${card.comments.length})`),
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
      { onsubmit: addComment },
      field('New comment', element('textarea', { name: 'text', rows: 2, required: true, maxlength: 20_000 })),
      field(
        'Link (optional)',
        element('input', { name: 'link', type: 'url', pattern: 'https?://.*', placeholder: 'https://…' }),
      ),
      element('button', { type: 'submit' }, 'Comment'),
    ),
  );
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
