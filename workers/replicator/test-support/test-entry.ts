import type { SegmentEntry } from '../src/format/entry.ts';

/** An entry for tests. */
export function testEntry(
  fields: Partial<SegmentEntry> & Pick<SegmentEntry, 'kind' | 'min' | 'max'>,
): SegmentEntry {
  return {
    tenant: 'acme',
    offset: 0,
    length: 0,
    key: '',
    sha256: '',
    firstSeq: fields.min,
    lastSeq: fields.max,
    firstMs: fields.min * 1_000,
    lastMs: fields.max * 1_000,
    epoch: 1,
    pageSize: 4_096,
    pages: 3,
    incarnation: '',
    end: { salts: '', frame: 0, checksum: '' },
    commits: fields.max - fields.min + 1,
    plainBytes: 4_096,
    ...fields,
  };
}
