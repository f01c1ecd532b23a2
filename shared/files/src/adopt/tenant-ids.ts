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
  // A tree may have one name 100,000 times: each is looked at once.
  const holders = new Map<string, number[]>();
  for (const [index, id] of wanted.entries()) {
    if (id === undefined) continue;
    const some = holders.get(id);
    if (some === undefined) holders.set(id, [index]);
    else some.push(index);
  }
  const keepers = new Map([...holders].map(([id, some]) => [id, keeperOf(id, some, names, given)]));
  return names.map((name, index) => {
    const id = wanted[index];
    if (id === undefined) return { trouble: `${name} leaves nothing that can be a tenant's id` };
    if (keepers.get(id) === index) return { tenant: id };
    const other = holders.get(id)!.find(holder => holder !== index)!;
    return { trouble: `${name} and ${names[other]} would both be tenant ${id}` };
  });
}

/** The one of several names that gets their id. */
function keeperOf(
  id: string,
  holders: readonly number[],
  names: readonly string[],
  given: ReadonlyMap<string, string>,
): number | undefined {
  if (holders.length === 1) return holders[0];
  const exact = holders.filter(holder => names[holder] === id);
  const isClear =
    exact.length === 1 && holders.every(holder => holder === exact[0] || !given.has(names[holder]!));
  return isClear ? exact[0] : undefined;
}
