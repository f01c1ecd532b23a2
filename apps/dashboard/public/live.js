import { morphInto } from './morph.js';

/*
 * Keeps the pieces of the page up to date. The server sends those that changed as server-sent events; a person can stop
 * them (moving text is hard to read), and the page says so when they do not come.
 */

const SILENT_MS = 6_000;

export function startLive() {
  const path = document.body.dataset.live;
  const button = document.getElementById('live');
  const text = document.getElementById('live-text');
  if (path === undefined || button === null || typeof EventSource === 'undefined') return;
  let source;
  let stopped = false;
  let heardAt = Date.now();

  const show = (state, words) => {
    if (button.dataset.state !== state) button.dataset.state = state;
    if (text.textContent !== words) text.textContent = words;
  };
  const onRegions = event => {
    heardAt = Date.now();
    show('live', 'Live');
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const place = document.getElementById(`r-${id}`);
      if (place !== null) morphInto(place, html);
    }
    const title = document.querySelector('[data-title]')?.dataset.title;
    if (title !== undefined && document.title !== title) document.title = title;
    document.dispatchEvent(new Event('regions'));
  };
  const open = () => {
    source?.close();
    source = new EventSource(path);
    source.addEventListener('regions', onRegions);
    source.addEventListener('quiet', () => {
      heardAt = Date.now();
      show('live', 'Live');
    });
  };
  const close = () => {
    source?.close();
    source = undefined;
  };

  button.hidden = false;
  button.addEventListener('click', () => {
    stopped = !stopped;
    button.setAttribute('aria-pressed', String(!stopped));
    if (stopped) {
      close();
      show('stopped', 'Stopped: resume');
    } else {
      heardAt = Date.now();
      show('live', 'Live');
      open();
    }
  });
  setInterval(() => {
    if (stopped) return;
    if (Date.now() - heardAt > SILENT_MS) {
      show('away', `Not live for ${Math.round((Date.now() - heardAt) / 1_000)} s: trying again`);
      // A stream that was refused (the session has ended) does not reconnect on its own.
      if (source === undefined || source.readyState === EventSource.CLOSED) void checkSession().then(open);
    }
  }, 1_000);
  // A hidden page costs the server nothing.
  document.addEventListener('visibilitychange', () => {
    if (stopped) return;
    if (document.hidden) close();
    else {
      heardAt = Date.now();
      open();
    }
  });
  window.addEventListener('pagehide', close);
  open();
}

/** Goes to the login where the session has ended. */
async function checkSession() {
  try {
    const answer = await fetch('/session', { headers: { accept: 'application/json' } });
    if (answer.status === 401)
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  } catch {} // the server is away: the button says so
}
