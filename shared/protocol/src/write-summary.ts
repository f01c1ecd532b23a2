/*
 * Who wrote, and with what kinds of statements: of a commit, or of several that follow each other. Of bounded size, for the history of a
 * tenant. Which rows, and with what values, it does not say.
 */

/** Kinds of statements that write. In a summary each is the bit of its place here. */
export const WRITE_KINDS = ['INSERT', 'UPDATE', 'DELETE', 'DDL', 'OTHER'] as const;
export type WriteKind = (typeof WRITE_KINDS)[number];

/** Writers that a summary names. */
export const MAX_NAMED_WRITERS = 4;
/** Ids of clients and tokens are shorter; a job of another producer may say anything. */
const MAX_NAME_LENGTH = 80;

export interface WriteSummary {
  /** Writes that were applied. */
  readonly writes: number;
  /** Bits of {@link WRITE_KINDS}. */
  readonly kinds: number;
  /** Those with the most writes, at most {@link MAX_NAMED_WRITERS}: the rest of `writes` are of others. */
  readonly by: readonly (readonly [who: string, writes: number])[];
}

const KIND_OF_KEYWORD: Readonly<Record<string, WriteKind>> = {
  INSERT: 'INSERT',
  REPLACE: 'INSERT',
  UPDATE: 'UPDATE',
  DELETE: 'DELETE',
  CREATE: 'DDL',
  ALTER: 'DDL',
  DROP: 'DDL',
};

/** The bit of a statement's kind, by its keyword. @param keyword upper case */
export function writeKindBit(keyword: string): number {
  return 1 << WRITE_KINDS.indexOf(KIND_OF_KEYWORD[keyword] ?? 'OTHER');
}

/** The kinds of a summary, as people read them. */
export function namesOfWriteKinds(kinds: number): readonly WriteKind[] {
  return WRITE_KINDS.filter((_, place) => (kinds & (1 << place)) !== 0);
}

/** Who sent a write: the token that the gateway noted, where one may write several tenants, else the client. */
export function writerName(client: string, sender: string | undefined): string {
  return (typeof sender === 'string' ? `token ${sender}` : client).slice(0, MAX_NAME_LENGTH);
}

/** @param by writes of each writer */
export function summarizeWrites(
  kinds: number,
  writes: number,
  by: ReadonlyMap<string, number>,
): WriteSummary {
  const most = [...by].sort(([, one], [, other]) => other - one).slice(0, MAX_NAMED_WRITERS);
  return { writes, kinds, by: most };
}

/** One summary of several; undefined where there is none. Of a writer that some do not name, at least so many writes are its own. */
export function mergeSummaries(summaries: Iterable<WriteSummary | undefined>): WriteSummary | undefined {
  const by = new Map<string, number>();
  let kinds = 0;
  let writes = 0;
  let only: WriteSummary | undefined;
  let found = 0;
  for (const summary of summaries) {
    if (summary === undefined) continue;
    found++;
    only = summary;
    kinds |= summary.kinds;
    writes += summary.writes;
    for (const [who, count] of summary.by) by.set(who, (by.get(who) ?? 0) + count);
  }
  return found <= 1 ? only : summarizeWrites(kinds, writes, by);
}
