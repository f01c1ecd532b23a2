import {
  describeStatement,
  isOnewriterError,
  OnewriterError,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import {
  type Letter,
  LetterBox,
  type LetterSummary,
  noSuchLetter,
  summarizeLetter,
  toLetterId,
} from '@onewriter/runtime/dead-letters';
import { withRedis } from '../open-redis.ts';
import { printError } from '../print-error.ts';
import { formatTable } from '../table.ts';
import { findRemoteTarget, type PlaceOptions, requireRedis } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter dead-letters list`, as the command line gives them. */
export interface ListLettersOptions extends PlaceOptions {
  readonly tenant?: string | undefined;
  readonly limit?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Options of `onewriter dead-letters retry` and `drop`, as the command line gives them. */
export interface ChangeLettersOptions extends PlaceOptions {
  readonly all?: boolean | undefined;
  readonly tenant?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Result for one letter, as `retry --json` and `drop --json` list it. */
export interface LetterChange {
  readonly id: string;
  readonly tenant: string | null;
  /** Receipt id of the write that was set aside. */
  readonly receiptId: string | null;
  /** Receipt id of the write that was sent again. */
  readonly newReceiptId?: string | undefined;
  /** Set where the letter is still there. */
  readonly error?: WireError | undefined;
}

const DEFAULT_LIMIT = 50;

/** Lists the writes that were set aside, newest first. */
export async function listDeadLetters(options: ListLettersOptions): Promise<number> {
  const limit = parseLimit(options.limit);
  await using box = await openBox(options);
  const ids = await box.ids();
  const list: LetterSummary[] = [];
  // Reads one more than it shows, to know whether there are more.
  for await (const letter of ofTenant(box.read(ids), options.tenant)) {
    if (list.push(summarizeLetter(letter)) > limit) break;
  }
  const shown = list.slice(0, limit);
  process.stdout.write(options.json ? `${JSON.stringify(shown)}\n` : asText(shown, list.length > limit));
  return 0;
}

/** Sends writes that were set aside again, oldest first. Returns 1 where one of them could not be. */
export async function retryDeadLetters(
  ids: readonly string[],
  options: ChangeLettersOptions,
): Promise<number> {
  const overloaded = new Map<string, unknown>();
  return changeLetters(ids, options, async (box, letter) => {
    const tenant = letter.content?.tenant ?? '';
    // Waited for once.
    if (overloaded.has(tenant)) throw overloaded.get(tenant);
    try {
      const { receiptId } = await box.resend(letter);
      return {
        text: `sent again: ${tenant} ${letter.content?.receiptId} → ${receiptId}`,
        newReceiptId: receiptId,
      };
    } catch (error) {
      if (isOnewriterError(error, 'TENANT_OVERLOADED')) overloaded.set(tenant, error);
      throw error;
    }
  });
}

/** Removes writes that were set aside, for good. Returns 1 where one of them was not there. */
export async function dropDeadLetters(
  ids: readonly string[],
  options: ChangeLettersOptions,
): Promise<number> {
  return changeLetters(ids, options, async (box, letter) => {
    if (!(await box.remove(letter.id))) throw noSuchLetter(letter.id);
    return { text: `dropped: ${letter.content?.tenant ?? '-'} ${letter.content?.receiptId ?? letter.id}` };
  });
}

/** What is reported of a letter that was changed. */
interface Changed {
  readonly text: string;
  readonly newReceiptId?: string | undefined;
}

/**
 * Changes the chosen letters, one after the other. A letter that cannot be changed is reported, and the others are still
 * changed; without Redis the command stops.
 */
async function changeLetters(
  ids: readonly string[],
  options: ChangeLettersOptions,
  change: (box: LetterBox, letter: Letter) => Promise<Changed>,
): Promise<number> {
  assertChoice(ids, options);
  await using box = await openBox(options);
  const changes: LetterChange[] = [];
  let failures = 0;
  const fail = (entry: Omit<LetterChange, 'error'>, error: unknown) => {
    failures++;
    changes.push({ ...entry, error: toWireError(error) });
    if (!options.json) printError(toWireError(error));
  };
  try {
    // The ids are taken first: a write that fails again is a new letter, and not sent for ever.
    const wanted = options.all ? (await box.ids()).reverse() : [...new Set(ids.map(toLetterId))];
    const missing = new Set(options.all ? [] : wanted);
    for await (const letter of ofTenant(box.read(wanted), options.tenant)) {
      missing.delete(letter.id);
      const { tenant, receiptId } = summarizeLetter(letter);
      const entry = { id: letter.id, tenant, receiptId };
      try {
        const { text, newReceiptId } = await change(box, letter);
        changes.push({ ...entry, newReceiptId });
        if (!options.json) process.stdout.write(`${text}\n`);
      } catch (error) {
        // Without Redis the others would fail as well.
        if (!(error instanceof OnewriterError) || error.code === 'QUEUE_UNAVAILABLE') throw error;
        fail(entry, error);
      }
    }
    for (const id of missing) fail({ id, tenant: null, receiptId: null }, noSuchLetter(id));
    if (!options.json && changes.length === 0) process.stdout.write('There are no dead letters.\n');
  } finally {
    if (options.json) process.stdout.write(`${JSON.stringify(changes)}\n`);
  }
  return failures === 0 ? 0 : 1;
}

/** @throws OnewriterError INVALID_ARGUMENT */
function assertChoice(ids: readonly string[], { all, tenant }: ChangeLettersOptions): void {
  if (ids.length > 0 && (all || tenant !== undefined)) {
    throw new UsageError('Give ids, or --all with or without --tenant, not both.');
  }
  if (ids.length === 0 && !all) {
    throw new UsageError('Give the ids of letters or receipts, or --all.');
  }
}

/** @throws OnewriterError INVALID_ARGUMENT */
export function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new UsageError('--limit is a number from 1 to 999999.');
}

async function openBox(options: PlaceOptions): Promise<LetterBox> {
  const target = findRemoteTarget(options);
  // It checks which data directory the group belongs to.
  await withRedis(target, async () => {});
  return LetterBox.open(requireRedis(target), target.group, target.config.maxQueueBytes);
}

async function* ofTenant(letters: AsyncIterable<Letter>, tenant: string | undefined): AsyncGenerator<Letter> {
  for await (const letter of letters) {
    if (tenant === undefined || letter.content?.tenant === tenant) yield letter;
  }
}

function asText(list: readonly LetterSummary[], more: boolean): string {
  if (list.length === 0) return 'There are no dead letters.\n';
  const rows = list.map(({ id, receiptId, tenant, setAsideAt, error, sql }) => [
    receiptId ?? id,
    tenant ?? '-',
    setAsideAt.slice(0, 19).replace('T', ' '),
    error === null ? 'cannot be read' : `${error.code} ${error.message}`,
    sql === null ? '-' : describeStatement(sql),
  ]);
  const count = `${list.length} ${list.length === 1 ? 'letter' : 'letters'}`;
  return (
    formatTable(['receipt', 'tenant', 'set aside (UTC)', 'error', 'statement'], rows) +
    `${count}${more ? '; there are more: --limit' : ''}\n`
  );
}
