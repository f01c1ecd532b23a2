import { noSuchLetter } from '@onewriter/runtime/dead-letters';
import type { Parts } from '../parts.ts';
import { createLetterActions } from './letter-actions.ts';
import { actOnTenant } from './tenant-page.ts';

/** `POST /tenants/:tenant/letters/:id/retry`, `…/drop` */
export function addLetterRoutes(parts: Parts): void {
  const { app, letters, audit } = parts;
  const actions = createLetterActions(letters, audit);

  for (const action of ['retry', 'drop'] as const) {
    app.post(`/tenants/:tenant/letters/:id/${action}`, c =>
      actOnTenant(
        parts,
        c,
        action,
        action === 'retry' ? 'It was not sent again' : 'It was not dropped',
        async () => {
          const id = c.req.param('id') ?? '';
          for await (const letter of letters.read([id])) return actions[action](letter);
          throw noSuchLetter(id);
        },
      ),
    );
  }
}
