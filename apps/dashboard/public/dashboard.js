import { startLive } from './live.js';
import { startPlots } from './plot.js';
import { startSqlBox } from './sql.js';
import { startTimeLine } from './time-line.js';

startPlots();
startSqlBox();
startTimeLine();
startLive();
startTheme();
startDialogs();

/** Auto, light, dark, and round again. */
function startTheme() {
  const button = document.getElementById('theme');
  if (button === null) return;
  const root = document.documentElement;
  const show = () => {
    button.textContent = `Theme: ${root.dataset.theme ?? 'auto'}`;
  };
  button.hidden = false;
  button.addEventListener('click', () => {
    const next = { auto: 'light', light: 'dark', dark: undefined }[root.dataset.theme ?? 'auto'];
    if (next === undefined) delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      if (next === undefined) localStorage.removeItem('onewriter-theme');
      else localStorage.setItem('onewriter-theme', next);
    } catch {} // storage is switched off: it holds for this page
    show();
  });
  show();
}

/** Buttons that ask before they do something: `data-dialog` names the dialog. */
function startDialogs() {
  document.addEventListener('click', event => {
    const button =
      event.target instanceof Element ? event.target.closest('[data-dialog],[data-close]') : null;
    if (button === null) return;
    if (button.dataset.close !== undefined) button.closest('dialog').close();
    else document.getElementById(button.dataset.dialog)?.showModal();
  });
  // One click is one request: these take a moment.
  document.addEventListener('submit', event => {
    if (event.target.method === 'post' && event.target.id !== 'sql-form') {
      for (const button of event.target.querySelectorAll('button'))
        setTimeout(() => (button.disabled = true));
    }
  });
}
