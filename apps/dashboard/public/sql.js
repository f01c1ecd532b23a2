/*
 * The SQL box: Ctrl+Enter runs, Stop ends the statement on the server, too. Without this file the form works all the
 * same, as a page of its own.
 */

export function startSqlBox() {
  const form = document.getElementById('sql-form');
  if (form === null) return;
  const [text, results, run, stop] = ['sql', 'sql-results', 'sql-run', 'sql-stop'].map(id =>
    document.getElementById(id),
  );
  let running;

  form.addEventListener('submit', async event => {
    event.preventDefault();
    if (running !== undefined) return;
    running = new AbortController();
    run.disabled = true;
    stop.hidden = false;
    results.setAttribute('aria-busy', 'true');
    const began = performance.now();
    const clock = setInterval(() => {
      stop.textContent = `Stop (${((performance.now() - began) / 1_000).toFixed(0)} s)`;
    }, 250);
    try {
      const answer = await fetch(form.action, {
        method: 'POST',
        body: new URLSearchParams(new FormData(form)),
        headers: { 'x-fragment': '1' },
        signal: running.signal,
      });
      if (answer.redirected || answer.status === 401) location.assign(location.href);
      else results.innerHTML = await answer.text();
    } catch (error) {
      results.textContent =
        error.name === 'AbortError'
          ? 'Stopped; the statement was ended.'
          : 'The dashboard does not answer. Is it still running?';
    } finally {
      clearInterval(clock);
      running = undefined;
      run.disabled = false;
      stop.hidden = true;
      stop.textContent = 'Stop';
      results.removeAttribute('aria-busy');
    }
  });
  stop.addEventListener('click', () => running?.abort());
  text.addEventListener('keydown', event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
    if (event.key === 'Escape') running?.abort();
  });
  for (const button of document.querySelectorAll('[data-sql]')) {
    button.addEventListener('click', () => {
      text.value = button.dataset.sql;
      text.focus();
      form.requestSubmit();
    });
  }
}
