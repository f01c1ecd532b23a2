import { type Html, html, NOTHING } from './html.ts';

/** The places one can go to. */
export type Place = 'overview' | 'tenants' | 'operations' | 'queues' | 'audit';

/** Common to every page. */
export interface LayoutOptions {
  readonly title: string;
  readonly place?: Place | undefined;
  /** Where its live pieces come from: a path that answers with server-sent events. */
  readonly live?: string | undefined;
  /** Shown beside the name: the placement group. */
  readonly group: string;
}

const PLACES: readonly (readonly [Place, string, string])[] = [
  ['overview', '/', 'Overview'],
  ['tenants', '/tenants', 'Tenants'],
  ['operations', '/operations', 'Operations'],
  ['queues', '/queues', 'Queues'],
  ['audit', '/audit', 'Audit'],
];

/** A whole page. All it loads is served here: no script, style or font comes from elsewhere. */
export function layout({ title, place, live, group }: LayoutOptions, content: Html): Html {
  return document(
    title,
    html`<body${live === undefined ? NOTHING : html` data-live="${live}"`}>
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
          <a class="brand" href="/">Onewriter <span class="group">${group}</span></a>
          <nav aria-label="Pages">
            ${PLACES.map(
              ([name, href, text]) =>
                html`<a href="${href}"${name === place ? html` aria-current="page"` : NOTHING}>${text}</a>`,
            )}
          </nav>
          <div class="tools">
            ${
              live === undefined
                ? NOTHING
                : html`<button type="button" id="live" class="live" hidden aria-pressed="true" title="Stop or resume updates">
                    <span class="dot" aria-hidden="true"></span><span id="live-text">Live</span>
                  </button>`
            }
            <button type="button" id="theme" class="quiet" hidden>Theme: auto</button>
            <form method="post" action="/logout"><button class="quiet">Log out</button></form>
          </div>
        </header>
        <main id="main">${content}</main>
      </body>`,
  );
}

/** A page without the ways to others: the login form, and errors before it. */
export function smallPage(title: string, content: Html): Html {
  return document(title, html`<body class="small"><main class="card">${content}</main></body>`);
}

function document(title: string, body: Html): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Onewriter</title>
        <link rel="icon" href="/assets/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/assets/dashboard.css" />
        <script src="/assets/theme.js"></script>
        <script src="/assets/dashboard.js" type="module"></script>
      </head>
      ${body}
    </html>`;
}
