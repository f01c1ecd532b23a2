/*
 * JSON.parse turns every number into a double, so 9007199254740993 would silently become …992. Other languages
 * write 64-bit integers as bare JSON numbers; they are tagged in the text before it is parsed.
 */

/**
 * A string (left alone), or a number. A string without an end goes to the end of the text: were it no match, each quote in it would
 * be tried as a beginning, which takes the square of its length.
 */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\[\s\S])*(?:"|\\?$)|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;
/** Digits of the largest double, and a sign. */
const MAX_DOUBLE_DIGITS = 310;
/** The shortest integer that a double may not hold has 16 digits. */
const MAYBE_TOO_LARGE = /\d{16}/;

/**
 * Parses JSON; an integer that a double cannot hold, but 64 bits can, becomes `{"i":"<decimal>"}`, the tagged form of a 64-bit integer
 * (see WireValue), wherever it stands.
 * @throws SyntaxError
 */
export function parseExactJson(text: string): unknown {
  return JSON.parse(MAYBE_TOO_LARGE.test(text) ? tagLargeIntegers(text) : text);
}

function tagLargeIntegers(text: string): string {
  return text.replace(STRING_OR_NUMBER, token =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) && !isDouble(token)
      ? `{"i":"${token}"}`
      : token,
  );
}

/**
 * Whether digits that are no 64-bit integer are a double: its exact value, or as JavaScript writes it (2 ** 63 is
 * written 9223372036854776000). Any other would be rounded silently, and is refused later.
 */
function isDouble(digits: string): boolean {
  // Beyond any double; and reading so many digits takes long.
  if (digits.length > MAX_DOUBLE_DIGITS) return false;
  const integer = BigInt(digits);
  if (BigInt.asIntN(64, integer) === integer) return false;
  const double = Number(digits);
  return String(double) === digits || (Number.isFinite(double) && BigInt(double) === integer);
}
