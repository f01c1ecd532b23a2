import { isOnewriterError } from '@onewriter/protocol';

const EVERY_MS = 1_000;

/**
 * Looks every second whether what allowed a long answer still does: a stream must not outlive its token.
 *
 * @param check throws OnewriterError UNAUTHENTICATED when it does not; other errors are transient
 * @param onEnd is called once, with that error
 * @returns ends the watch. Idempotent.
 */
export function watchAccess(check: () => Promise<unknown>, onEnd: (error: Error) => void): () => void {
  let checking = false;
  let ended = false;
  const stop = () => {
    ended = true;
    clearInterval(timer);
  };
  const timer = setInterval(() => {
    if (checking) return;
    checking = true;
    check()
      .catch((error: unknown) => {
        if (ended || !isOnewriterError(error) || error.code !== 'UNAUTHENTICATED') return;
        stop();
        onEnd(error);
      })
      .finally(() => {
        checking = false;
      });
  }, EVERY_MS).unref();
  return stop;
}
