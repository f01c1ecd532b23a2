import { TENANT_ID_PATTERN } from '@onewriter/protocol';

const MAX_LENGTH = 63;

/** A tenant's id, or why a name gets none. */
export type NamedTenant = { readonly tenant: string } | { readonly trouble: string };

/**
 * A valid id that is as near to a name as can be; undefined where nothing of it is left. `Acme GmbH & Co` is `acme-gmbh-co`, `Müller`
 * is `muller`.
 */
export function toTenantId(name: string): string | undefined {
  const id = name
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, MAX_LENGTH)
    .replace(/^-+|-+$/g, '');
  return TENANT_ID_PATTERN.test(id) ? id : undefined;
}

/**
 * Gives each name of a tree an id, the same in each run. Two names never share one: a name that is an id keeps it, and of others that
 * would get the same none does, until a person names them.
 * @param names as they are in the tree; equal ones are of several files
 * @param given ids that a person chose, by name
 */
export function nameTenants(
  names: readonly string[],
  given: ReadonlyMap<string, string>,
): readonly NamedTenant[] {
  const wanted = names.map(
    name => given.get(name) ?? (TENANT_ID_PATTERN.test(name) ? name : toTenantId(name)),
  );
  const holders = new Map<string, number[]>();
  for (const [index, id] of wanted.entries())
    if (id !== undefined) holders.set(id, [...(holders.get(id) ?? []), index]);
  return names.map((name, index) => {
    const id = wanted[index];
    if (id === undefined) return { trouble: `${name} leaves nothing that can be a tenant's id` };
    const others = holders.get(id)!.filter(other => other !== index);
    if (others.length === 0) return { tenant: id };
    const keeps = name === id && others.every(other => names[other] !== name && !given.has(names[other]!));
    return keeps
      ? { tenant: id }
      : { trouble: `${name} and ${names[others[0]!]} would both be tenant ${id}` };
  });
}
