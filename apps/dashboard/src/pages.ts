import { html } from 'hono/html';

/** A finished page. */
type Page = ReturnType<typeof html>;

/** The style of our own pages. */
const STYLE = `
:root { color-scheme: light dark; --line: #8886; --accent: #3b6fd4; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; display: grid; min-height: 100vh; place-items: center; padding: 1rem; }
main { width: min(30rem, 100%); border: 1px solid var(--line); border-radius: .75rem; padding: 1.5rem 2rem 2rem; }
h1 { font-size: 1.25rem; margin: 0 0 1rem; }
label { display: block; margin-bottom: .25rem; }
input { width: 100%; padding: .6rem .75rem; font: inherit; border: 1px solid var(--line); border-radius: .5rem; background: transparent; color: inherit; }
button { margin-top: 1rem; padding: .6rem 1.25rem; font: inherit; border: 0; border-radius: .5rem; background: var(--accent); color: #fff; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.problem { border-left: 4px solid #c33; padding-left: .75rem; }
.hint { opacity: .8; font-size: .9rem; }
ul { padding-left: 1.2rem; columns: 2; overflow-wrap: anywhere; }
`;

/** The login form. */
export function loginPage(next: string, problem?: string): Page {
  return page(
    'Log in',
    html`<h1>Onewriter</h1>
      ${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
      <form method="post" action="/login">
        <input type="hidden" name="next" value="${next}" />
        <input type="text" name="username" value="onewriter" autocomplete="username" hidden />
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus />
        <button type="submit">Log in</button>
      </form>
      <p class="hint">
        A token with access "admin": <code>onewriter up</code> prints one, as does the log of a process that was
        started without ONEWRITER_TOKEN_SECRET.
      </p>`,
  );
}

/** The page that finds a tenant. */
export function tenantsPage(recent: readonly string[], problem?: string): Page {
  return page(
    'Find a tenant',
    html`<h1>Find a tenant</h1>
      ${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
      <form method="get" action="/queues">
        <label for="tenant">Tenant id</label>
        <input id="tenant" name="tenant" required autofocus autocapitalize="none" spellcheck="false" />
        <button type="submit">Show its queue</button>
      </form>
      <p class="hint">The board shows the tenants that were active last. They are:</p>
      <ul>
        ${recent.map(tenant => html`<li><a href="/queues/queue/tenant.${tenant}">${tenant}</a></li>`)}
      </ul>
      <p><a href="/queues">All queues</a></p>`,
  );
}

function page(title: string, content: Page): Page {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title} · Onewriter</title>
        <style>
          ${STYLE}
        </style>
      </head>
      <body>
        <main>${content}</main>
      </body>
    </html>`;
}
