import type { Random } from '@onewriter/testkit';

/** A value as SQL that puts it into a file exactly; the driver cannot bind text that is not UTF-8. */
export type SqlText = string;

const TEXTS: readonly SqlText[] = [
  "''",
  "'it''s'",
  "'line' || char(10) || 'two'",
  "'windows' || char(13, 10) || 'lines' || char(13)",
  "'\\r is no CR, ' || char(13) || ' is'",
  "'a' || char(0) || 'b'",
  'char(0)',
  "'ü🧵 ' || char(65533)",
  "CAST(x'ff' AS TEXT)",
  "CAST(x'61c3' AS TEXT)",
  "CAST(x'eda080' AS TEXT)",
  "CAST(x'c0af00ff' AS TEXT)",
  "char(65279) || 'mark'",
  "'1e5'",
  "'0x10'",
  "' 12 '",
  "'9223372036854775808'",
  "'NULL'",
  "'; DROP TABLE x; --'",
  "'.quit'",
  "char(10) || '.quit' || char(10) || 'go' || char(10) || '/' || char(10)",
  '\'with "double" quotes, commas\'',
];
const INTEGERS: readonly SqlText[] = [
  ...['0', '1', '-1', '127', '-129', '65536', '9007199254740993', '-9007199254740993'],
  ...['9223372036854775807', '(-9223372036854775807 - 1)'],
];
const REALS: readonly SqlText[] = [
  ...['0.1', '1.0', '-0.0', '9e999', '-9e999', '1e300', '-1.7976931348623157e308', '5e-324', '2.5e-310'],
  ...[
    '123456789012345680000.0',
    '9223372036854775808.0',
    '1e21',
    '1e22',
    '3.141592653589793',
    '0.30000000000000004',
  ],
];
const BLOBS: readonly SqlText[] = ["x''", "x'00'", "x'00ff'", "x'27'", 'zeroblob(70)'];

/** Any value that a file can hold. */
export function anyValue(random: Random): SqlText {
  switch (random.between(0, 5)) {
    case 0:
      return 'NULL';
    case 1:
      return random.chance(0.5) ? random.pick(INTEGERS) : String(random.between(-1_000, 1_000));
    case 2:
      return anyReal(random);
    case 3:
      return random.chance(0.7) ? random.pick(BLOBS) : `x'${anyBytes(random)}'`;
    default:
      return anyText(random);
  }
}

/** A text; one in some is not UTF-8. */
export function anyText(random: Random): SqlText {
  if (random.chance(0.6)) return random.pick(TEXTS);
  return random.chance(0.2) ? `CAST(x'${anyBytes(random)}' AS TEXT)` : `'${someWords(random)}'`;
}

/** A real that has most of its digits. */
export function anyReal(random: Random): SqlText {
  if (random.chance(0.5)) return random.pick(REALS);
  return `(${random.next()} * 1e${random.between(-25, 25)})`;
}

export function anyInteger(random: Random): SqlText {
  return random.pick(INTEGERS);
}

function anyBytes(random: Random): string {
  return Array.from({ length: random.between(0, 12) }, () =>
    random.between(0, 255).toString(16).padStart(2, '0'),
  ).join('');
}

const WORDS = [
  'running',
  'dogs',
  'run',
  'quick',
  'brown',
  'foxes',
  'jumped',
  'Über',
  'naïve',
  'tree',
  'trees',
];

/** For full text: words that stemmers change. */
export function someWords(random: Random): string {
  return Array.from({ length: random.between(0, 6) }, () => random.pick(WORDS)).join(' ');
}
