import type { OnewriterError } from '@onewriter/protocol';
import { type Html, html, NOTHING } from './html.ts';
import { icon, type Tone } from './icon.ts';

/** A message on top of a page: what was done, or why not and what to do. */
export interface Notice {
  readonly tone: Tone;
  readonly text: string;
  /** More of it, as it came. */
  readonly detail?: string | undefined;
}

/** What to do about an error that a person's own action met. */
const REMEDIES: Readonly<Record<string, string>> = {
  BROKER_UNAVAILABLE: 'No broker leads: see the overview.',
  RATE_LIMITED: 'Too much at once: wait some seconds and try again.',
  READ_TIMEOUT:
    'It ran into the time limit and was stopped. Narrow it down: a WHERE on an indexed column, a LIMIT.',
  READ_TOO_COSTLY: 'It would hold up writes: an index, a WHERE on an indexed column, or a LIMIT by key.',
  STATEMENT_TIMEOUT:
    'It ran into the time limit and was stopped. For a large file: npx onewriter check, on the machine with the files.',
  TENANT_UNAVAILABLE: 'Try again; if it stays so, look at the log of the broker and of the gateway.',
  QUEUE_UNAVAILABLE: 'Redis does not answer: see the overview.',
  TIMEOUT: 'The gateway is busy or hangs: look at its log.',
};

/** The notice of an error: its message, its code, and what to do. */
export function errorNotice(error: OnewriterError, what: string): Notice {
  const remedy = REMEDIES[error.code];
  return {
    tone: 'critical',
    text: `${what}: ${error.message}${remedy === undefined ? '' : ` ${remedy}`}`,
    detail: undefined,
  };
}

/** A notice, read aloud when it comes. */
export function noticeBox({ tone, text, detail }: Notice): Html {
  return html`<div class="notice ${tone}" role="${tone === 'critical' ? 'alert' : 'status'}">${icon(tone)}
    <div><p>${text}</p>${detail === undefined ? NOTHING : html`<pre>${detail}</pre>`}</div>
  </div>`;
}
