import type { Moment } from './live/status-watch.ts';
import type { Parts } from './parts.ts';
import { html } from './views/html.ts';
import { layout } from './views/layout.ts';
import { overviewPage, overviewRegions } from './views/overview.ts';
import type { Regions } from './views/regions.ts';

/**
 *   GET /          the overview
 *   GET /live      its changes
 *   GET /session   204 as long as the session lasts
 */
export function addOverviewRoutes({ app, group, watch, streams }: Parts): void {
  // Drawn once a second, however many people look.
  let drawn: { readonly moment: Moment; readonly regions: Regions } | undefined;
  const draw = (moment: Moment): Regions => {
    if (drawn?.moment !== moment) drawn = { moment, regions: overviewRegions(moment) };
    return drawn.regions;
  };

  app.get('/', c => {
    const page = layout(
      { title: 'Overview', place: 'overview', live: '/live', group },
      overviewPage(watch.moment),
    );
    return c.html(html`${page}`);
  });

  app.get('/live', c =>
    streams.answer(c, async function* (signal) {
      while (!signal.aborted) {
        yield draw(watch.moment);
        await nextMoment(watch, signal);
      }
    }),
  );

  app.get('/session', c => c.body(null, 204));
}

/** Resolves at the next look, or when the signal fires. */
function nextMoment(watch: Parts['watch'], signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      stop();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const stop = watch.listen(done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
