/*
 * JSON.parse turns every number into a double, so 9007199254740993 would become …992 without a word. Other languages
 * write 64-bit integers as bare JSON numbers; they are tagged in the text before it is parsed.
 */

/** A string (left alone), or a number without a fraction or exponent. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;
/** The shortest integer that a double may not hold has 16 digits. */
const MAYBE_TOO_LARGE = /\d{16}/;

/**
 * Parses JSON; an integer that a double cannot hold becomes `{"i":"<decimal>"}`, the tagged form of a 64-bit integer
 * (see WireValue), wherever it stands.
 * @throws SyntaxError
 */
export function parseExactJson(text: string): unknown {
  return JSON.parse(MAYBE_TOO_LARGE.test(text) ? tagLargeIntegers(text) : text);
}

function tagLargeIntegers(text: string): string {
  return text.replace(STRING_OR_NUMBER, token =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `{"i":"${token}"}` : token,
  );
}
