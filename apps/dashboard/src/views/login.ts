import { type Html, html, NOTHING } from './html.ts';
import { icon } from './icon.ts';
import { smallPage } from './layout.ts';

/** The login form. @param problem why the last attempt failed */
export function loginPage(next: string, problem?: string): Html {
  return smallPage(
    'Log in',
    html`<h1>Onewriter</h1>
      <p class="hint">The dashboard for people on call.</p>
      ${problem === undefined ? NOTHING : html`<p class="notice critical">${icon('critical')}<span role="alert">${problem}</span></p>`}
      <form method="post" action="/login">
        <input type="hidden" name="next" value="${next}" />
        <input type="text" name="username" value="onewriter" autocomplete="username" hidden />
        <p>
          <label for="token">Token</label>
          <input id="token" name="token" type="password" autocomplete="current-password" required autofocus />
        </p>
        <p><button class="primary">Log in</button></p>
      </form>
      <p class="hint">
        A token with access <code>admin</code> to all tenants: <code>npm start</code> prints one, as does
        <code>npx onewriter token --tenants '*' --access admin</code>, and the log of a dashboard that was started without any key.
      </p>`,
  );
}
