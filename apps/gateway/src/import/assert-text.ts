import { OnewriterError } from '@onewriter/protocol';

/** How many of a body's first bytes are looked at. */
export const SNIFFED_BYTES = 16;

interface Signature {
  readonly bytes: readonly number[];
  readonly is: string;
  readonly remedy: string;
}

/** What files begin with. Sources: the formats' own specifications. */
const SIGNATURES: readonly Signature[] = [
  { bytes: [0x1f, 0x8b], is: 'gzip', remedy: 'Unpack it first (gunzip -c).' },
  {
    bytes: [0x50, 0x4b, 3, 4],
    is: 'a ZIP archive (perhaps of a spreadsheet)',
    remedy: 'Save it as CSV in UTF-8.',
  },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], is: 'Zstandard', remedy: 'Unpack it first (zstd -dc).' },
  { bytes: [0x42, 0x5a, 0x68], is: 'bzip2', remedy: 'Unpack it first (bunzip2 -c).' },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], is: 'xz', remedy: 'Unpack it first (xz -dc).' },
  {
    bytes: [...Buffer.from('SQLite format 3\0')],
    is: 'a SQLite database',
    remedy: 'Export its tables as CSV or NDJSON first.',
  },
  { bytes: [0x50, 0x41, 0x52, 0x31], is: 'Parquet', remedy: 'Convert it to NDJSON first.' },
];
const UTF_16 = 'Convert it first (iconv -f UTF-16 -t UTF-8).';

/** Refuses a body that begins as no UTF-8 text does, and says what it is. @throws OnewriterError INVALID_ARGUMENT */
export function assertText(bytes: Uint8Array): void {
  const begins = (signature: readonly number[]) => signature.every((byte, index) => bytes[index] === byte);
  for (const { bytes: signature, is, remedy } of SIGNATURES) {
    if (begins(signature)) throw notText(is, remedy);
  }
  if (begins([0xff, 0xfe]) || begins([0xfe, 0xff])) throw notText('UTF-16', UTF_16);
  // In UTF-16 every second byte of ASCII text is 0.
  const [first, second] = bytes;
  if (bytes.length >= 2 && (first === 0) !== (second === 0))
    throw notText('UTF-16 without a byte-order mark', UTF_16);
}

function notText(is: string, remedy: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', `The file is ${is}, not UTF-8 text. ${remedy}`);
}
