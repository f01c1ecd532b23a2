import type { OnewriterError } from '@onewriter/protocol';
import { type Html, html } from './html.ts';
import { icon } from './icon.ts';
import { smallPage } from './layout.ts';

/** What a browser gets instead of a page. */
export function errorPage(error: Pick<OnewriterError, 'code' | 'message' | 'status'>): Html {
  return smallPage(
    'Not possible',
    html`<h1>${icon('critical')} ${error.status === 404 ? 'Not here' : 'That did not work'}</h1>
      <p role="alert">${error.message}</p>
      <p class="hint">Code <code>${error.code}</code>, status ${error.status}</p>
      <p><a href="/">To the overview</a></p>`,
  );
}
