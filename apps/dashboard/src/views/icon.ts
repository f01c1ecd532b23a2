import { type Html, html } from './html.ts';

/** How a state is shown: by a shape as well as by a colour and a word. */
export type Tone = 'good' | 'info' | 'warning' | 'critical';

/** A shape of its own for each tone: circle, circle with i, triangle, octagon. */
export function icon(tone: Tone): Html {
  switch (tone) {
    case 'good':
      return html`<svg class="icon good" viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10" /><path d="M7 12.5l3.5 3.5L17 8.5" /></svg>`;
    case 'info':
      return html`<svg class="icon info" viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10" /><path d="M12 11v6M12 7v.5" /></svg>`;
    case 'warning':
      return html`<svg class="icon warning" viewBox="0 0 24 24" aria-hidden="true"><path class="fill" d="M12 2.5L23 21.5H1z" /><path d="M12 9.5v5.5M12 18v.3" /></svg>`;
    case 'critical':
      return html`<svg class="icon critical" viewBox="0 0 24 24" aria-hidden="true"><path class="fill" d="M7.9 2h8.2L22 7.9v8.2L16.1 22H7.9L2 16.1V7.9z" /><path d="M8.5 8.5l7 7M15.5 8.5l-7 7" /></svg>`;
    default:
      return tone satisfies never;
  }
}

/** A state in a word with its shape. */
export function chip(tone: Tone, text: string): Html {
  return html`<span class="chip ${tone}">${icon(tone)}${text}</span>`;
}
