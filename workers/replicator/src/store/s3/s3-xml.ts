import { XMLParser } from 'fast-xml-parser';
import type { ListedObject } from '../object-store.ts';
import { PassingError } from '../repeat-call.ts';

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  // A page of 1,000 objects has 2,000 of them, the quotes of the etags; the default bound is 1,000.
  processEntities: { enabled: true, maxTotalExpansions: 10_000 },
  isArray: name => name === 'Contents' || name === 'Error',
});

export interface S3Failure {
  readonly code: string;
  readonly message: string;
}

export interface S3ListPage {
  /** Keys with the prefix of the store. */
  readonly objects: readonly ListedObject[];
  /** There are more, from here. */
  readonly next: string | undefined;
}

/** Shape of what is read; all of it may be missing. */
interface Answer {
  readonly Error?: readonly Fields[];
  readonly DeleteResult?: { readonly Error?: readonly Fields[] } | '';
  readonly ListBucketResult?: Fields & { readonly Contents?: readonly Fields[] };
}
type Fields = Readonly<Record<string, unknown>>;

/** What an answer that is no success says; '' where it says nothing. */
export function parseFailure(body: Buffer): S3Failure {
  try {
    return failureOf((parser.parse(body) as Answer).Error?.[0]);
  } catch {
    // Something between us and the store answered; its status says enough.
    return failureOf(undefined);
  }
}

/** Those of a DeleteObjects that were not deleted. @throws PassingError */
export function parseDeleteFailures(body: Buffer): readonly S3Failure[] {
  const { DeleteResult: result } = parse(body);
  if (result === undefined) throw new PassingError('the answer to DELETE is none');
  return (result === '' ? [] : (result.Error ?? [])).map(failureOf);
}

/** @throws PassingError where it is no page: a proxy answered, or it is cut off */
export function parseListPage(body: Buffer): S3ListPage {
  const { ListBucketResult: result } = parse(body);
  if (result === undefined) throw new PassingError('the answer to LIST is no list');
  const objects = (result.Contents ?? []).map(({ Key, Size, LastModified }) => ({
    key: String(Key),
    size: Number(Size),
    modifiedMs: Date.parse(String(LastModified)),
  }));
  if (result['IsTruncated'] !== 'true') return { objects, next: undefined };
  const next = result['NextContinuationToken'];
  // Without the token the rest would be missed, and what is not listed is lost to a restore.
  if (typeof next !== 'string' || next === '') {
    throw new PassingError('the answer to LIST says that there is more, but not where');
  }
  return { objects, next };
}

/** The keys of a DeleteObjects. They have no character that XML escapes. */
export function deleteBody(keys: readonly string[]): Buffer {
  const objects = keys.map(key => `<Object><Key>${key}</Key></Object>`).join('');
  return Buffer.from(
    `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>${objects}</Delete>`,
  );
}

function failureOf(fields: Fields | undefined): S3Failure {
  return { code: String(fields?.['Code'] ?? ''), message: String(fields?.['Message'] ?? '') };
}

function parse(body: Buffer): Answer {
  try {
    return parser.parse(body, true) as Answer;
  } catch (cause) {
    throw new PassingError('the answer is no XML', { cause });
  }
}
