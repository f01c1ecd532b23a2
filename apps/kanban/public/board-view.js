import { element } from './element.js';

/**
 * Draws a board. The whole board is redrawn at each change; focus and half-typed titles are carried over by
 * their `data-key`.
 *
 * @param {HTMLElement} container
 * @param board what the overview holds
 * @param {{ open(card), move(card, columnId, position, columnTitle), addCard(column, title), addColumn(title),
 *   renameColumn(column), deleteColumn(column) }} actions
 */
export function drawBoard(container, board, members, actions) {
  const keep = rememberTyping(container);
  const names = new Map(members.map(member => [member.id, member.name]));
  const lists = board.columns.map(column => ({
    ...column,
    cards: board.cards.filter(card => card.columnId === column.id),
  }));
  container.replaceChildren(
    ...lists.map((column, index) => drawColumn(column, index, lists, names, actions)),
    drawNewColumn(actions),
  );
  restoreTyping(container, keep);
}

function drawColumn(column, index, columns, names, actions) {
  const titleId = `column-${column.id}`;
  const list = element(
    'ol.cards',
    { 'data-column': column.id, 'aria-labelledby': titleId },
    ...column.cards.map((card, position) => drawCard(card, position, index, columns, names, actions)),
  );
  const section = element(
    'section.column',
    { 'aria-labelledby': titleId },
    element(
      'header.column-header',
      {},
      element('h2', { id: titleId }, column.title),
      element('span.count', { 'aria-label': `${column.cards.length} cards` }, String(column.cards.length)),
      element(
        'button.icon',
        {
          type: 'button',
          'aria-label': `Rename column ${column.title}`,
          title: 'Rename',
          'data-key': `rename-${column.id}`,
          onclick: () => actions.renameColumn(column),
        },
        '✎',
      ),
      element(
        'button.icon.danger',
        {
          type: 'button',
          'aria-label': `Delete column ${column.title}`,
          title: 'Delete',
          'data-key': `delete-${column.id}`,
          onclick: () => actions.deleteColumn(column),
        },
        '×',
      ),
    ),
    drawNewCard(column, actions),
    list,
  );
  acceptDrops(section, list, column, columns, actions);
  return section;
}

function drawNewCard(column, actions) {
  const input = element('input', {
    'aria-label': `New card in ${column.title}`,
    placeholder: 'New card',
    required: true,
    maxlength: 200,
    'data-key': `new-card-${column.id}`,
  });
  const submit = submitTyped(input, title => actions.addCard(column, title));
  return element('form.new-card', { onsubmit: submit }, input, element('button', { type: 'submit' }, 'Add'));
}

/** Empties the input at once, before the board is redrawn; restores the text if the action failed. */
function submitTyped(input, action) {
  return async event => {
    event.preventDefault();
    const typed = input.value;
    input.value = '';
    if (await action(typed)) return;
    const current = find(document, input.dataset.key);
    if (current?.value === '') current.value = typed;
  };
}

function drawNewColumn(actions) {
  const input = element('input', {
    'aria-label': 'Title of the new column',
    placeholder: 'New column',
    required: true,
    maxlength: 200,
    'data-key': 'new-column',
  });
  const submit = submitTyped(input, actions.addColumn);
  return element(
    'form.column.new-column',
    { onsubmit: submit },
    input,
    element('button', { type: 'submit' }, 'Add column'),
  );
}

function drawCard(card, position, columnIndex, columns, names, actions) {
  const column = columns[columnIndex];
  const left = columns[columnIndex - 1];
  const right = columns[columnIndex + 1];
  const item = element(
    `li.card.${card.priority}`,
    { draggable: 'true', 'data-card': card.id },
    element(
      'button.card-title',
      {
        type: 'button',
        'data-key': `open-${card.id}`,
        'aria-haspopup': 'dialog',
        onclick: () => actions.open(card),
      },
      element('span.ticket', {}, `#${card.ticket} `),
      card.title,
    ),
    card.tags.length > 0
      ? element('ul.tags', { 'aria-label': 'Tags' }, ...card.tags.map(tag => element('li', {}, tag)))
      : null,
    drawFacts(card, names),
    element(
      'div.moves',
      { role: 'group', 'aria-label': `Move #${card.ticket}` },
      moveButton('←', left && `Move to ${left.title}`, `left-${card.id}`, () =>
        actions.move(card, left, Math.min(position, left.cards.length)),
      ),
      moveButton('↑', position > 0 && 'Move up', `up-${card.id}`, () =>
        actions.move(card, column, position - 1),
      ),
      moveButton('↓', position < column.cards.length - 1 && 'Move down', `down-${card.id}`, () =>
        actions.move(card, column, position + 1),
      ),
      moveButton('→', right && `Move to ${right.title}`, `right-${card.id}`, () =>
        actions.move(card, right, Math.min(position, right.cards.length)),
      ),
    ),
  );
  item.addEventListener('dragstart', event => {
    event.dataTransfer.setData('text/plain', card.id);
    event.dataTransfer.effectAllowed = 'move';
    item.classList.add('dragged');
  });
  item.addEventListener('dragend', () => item.classList.remove('dragged'));
  return item;
}

function drawFacts(card, names) {
  const facts = [
    card.priority === 'normal' ? null : element(`span.priority`, {}, `${card.priority} priority`),
    card.dueDate ? element('time', { datetime: card.dueDate }, `due ${card.dueDate}`) : null,
    card.effort === null ? null : element('span', {}, `effort ${card.effort}`),
    card.memberId ? element('span', {}, names.get(card.memberId) ?? 'unknown') : null,
    card.commentCount > 0
      ? element('span', {}, card.commentCount === 1 ? '1 comment' : `${card.commentCount} comments`)
      : null,
  ].filter(fact => fact !== null);
  return facts.length > 0 ? element('p.facts', {}, ...facts) : null;
}

function moveButton(sign, label, key, onclick) {
  return element(
    'button.icon',
    {
      type: 'button',
      'data-key': key,
      'aria-label': label || null,
      title: label || null,
      disabled: !label,
      onclick,
    },
    sign,
  );
}

/** Drag and drop with the mouse: a line shows where the card would go. */
function acceptDrops(section, list, column, columns, actions) {
  section.addEventListener('dragover', event => {
    event.preventDefault();
    event.dataTransfer.dropEffect = 'move';
    showDropPlace(list, placeAt(list, event.clientY));
  });
  section.addEventListener('dragleave', event => {
    if (!section.contains(event.relatedTarget)) clearDropPlace();
  });
  section.addEventListener('drop', event => {
    event.preventDefault();
    clearDropPlace();
    const cardId = event.dataTransfer.getData('text/plain');
    const card = columns.flatMap(one => one.cards).find(one => one.id === cardId);
    if (!card) return;
    const place = placeAt(list, event.clientY);
    // The place counts the dragged card itself; without it, everything below it is one higher.
    const isBelowItself = card.columnId === column.id && card.position < place;
    actions.move(card, column, isBelowItself ? place - 1 : place);
  });
}

/** The number of cards of `list` whose middle is above `y`. */
function placeAt(list, y) {
  return [...list.children].filter(item => {
    const { top, height } = item.getBoundingClientRect();
    return top + height / 2 < y;
  }).length;
}

function showDropPlace(list, place) {
  clearDropPlace();
  const below = list.children[place];
  if (below) below.classList.add('drop-before');
  else list.classList.add('drop-at-end');
}

function clearDropPlace() {
  for (const node of document.querySelectorAll('.drop-before, .drop-at-end')) {
    node.classList.remove('drop-before', 'drop-at-end');
  }
}

function rememberTyping(container) {
  const values = new Map();
  for (const input of container.querySelectorAll('input[data-key]')) {
    if (input.value !== '') values.set(input.dataset.key, input.value);
  }
  const active = document.activeElement;
  const focus = container.contains(active) ? active.dataset.key : undefined;
  const scroll = new Map();
  for (const list of container.querySelectorAll('[data-column]')) {
    scroll.set(list.dataset.column, list.scrollTop);
  }
  return { values, focus, selection: [active?.selectionStart, active?.selectionEnd], scroll };
}

function restoreTyping(container, { values, focus, selection, scroll }) {
  for (const [key, value] of values) {
    const input = find(container, key);
    if (input) input.value = value;
  }
  for (const list of container.querySelectorAll('[data-column]')) {
    list.scrollTop = scroll.get(list.dataset.column) ?? 0;
  }
  if (focus === undefined) return;
  const node = find(container, focus);
  // A button that is disabled now (the card reached the end) hands its focus to the card's title.
  const target = node && !node.disabled ? node : node?.closest('.card')?.querySelector('.card-title');
  target?.focus({ preventScroll: true });
  if (target instanceof HTMLInputElement && typeof selection[0] === 'number') {
    target.setSelectionRange(selection[0], selection[1]);
  }
}

function find(container, key) {
  return container.querySelector(`[data-key="${CSS.escape(key)}"]`);
}
