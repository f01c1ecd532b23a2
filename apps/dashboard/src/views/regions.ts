import { type Html, html } from './html.ts';

/** Pieces of a page that update live, by the id of the element each fills. */
export type Regions = Readonly<Record<string, Html>>;

/** The place of a piece, filled. What comes later through the event stream goes into the same place. */
export function region(id: string, regions: Regions, className = ''): Html {
  return html`<div id="r-${id}" class="${className}" data-region="${id}">${regions[id]!}</div>`;
}
