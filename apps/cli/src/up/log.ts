/** Levels of a log line, by pino's numbers. */
const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

/** Fields of a pino line that are shown in a place of their own, or that are of no use to people. */
const HIDDEN_FIELDS = new Set(['level', 'time', 'pid', 'hostname', 'name', 'msg', 'err']);

/** Writes one line for people. `level` as in pino. */
export type UpLog = (level: 'info' | 'warn' | 'error', message: string, process?: string) => void;

/** The log of `onewriter up` itself, in the same form as its children's lines. */
export function createUpLog(write: (text: string) => void, colour: boolean): UpLog {
  return (level, message, process = 'up') => {
    write(formatLine({ time: Date.now(), process, level, message }, colour));
  };
}

/**
 * Turns a line that a child printed into a line for people: pino's JSON becomes time, process, level and message;
 * anything else is kept as it is, behind the name of the process.
 */
export function formatChildLine(process: string, line: string, colour: boolean): string {
  const record = parseRecord(line);
  if (record === undefined) {
    return formatLine({ time: Date.now(), process, level: 'info', message: line }, colour);
  }
  const { level, time, msg, err } = record;
  const fields = Object.entries(record)
    .filter(([name]) => !HIDDEN_FIELDS.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const parts = [typeof msg === 'string' ? msg : '', ...fields, ...describeError(err)];
  return formatLine(
    {
      time: typeof time === 'number' ? time : Date.now(),
      process,
      level: LEVELS[Number(level)] ?? 'info',
      message: parts.filter(part => part !== '').join('  '),
    },
    colour,
  );
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const record: unknown = JSON.parse(line);
    return record !== null && typeof record === 'object' && 'level' in record
      ? (record as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined; // not a log record: shown as it is
  }
}

function describeError(error: unknown): string[] {
  if (error === null || typeof error !== 'object') return [];
  const { code, message } = error as { code?: unknown; message?: unknown };
  return [[code, message].filter(part => typeof part === 'string' && part !== '').join(' ')];
}

interface Line {
  readonly time: number;
  readonly process: string;
  readonly level: string;
  readonly message: string;
}

function formatLine(line: Line, colour: boolean): string {
  const clock = new Date(line.time).toTimeString().slice(0, 8);
  const level = line.level.padEnd(5);
  const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const levelColour = line.level === 'warn' ? 33 : line.level === 'error' || line.level === 'fatal' ? 31 : 2;
  const message = escapeControls(line.message);
  return `${paint(2, clock)} ${paint(36, line.process.padEnd(9))} ${paint(levelColour, level)} ${message}\n`;
}

/** A name of a tenant's table may hold a newline or an escape sequence, which would forge a line or drive the terminal. */
function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, character => {
    const short = JSON.stringify(character).slice(1, -1);
    return short.length > 1 ? short : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
