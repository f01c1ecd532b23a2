import { expect, it } from 'vitest';
import { UsageError } from '../usage-error.ts';
import { setTenant } from './durability.ts';

it('takes a durability that there is not for a wrong command line', async () => {
  await expect(setTenant('acme', { durability: 'never' })).rejects.toBeInstanceOf(UsageError);
});
