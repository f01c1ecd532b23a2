/** Sent by a process to its parent when it serves; `onewriter up` waits for it. */
export interface ReadyMessage {
  readonly type: 'ready';
  /** Port of its HTTP server. */
  readonly port: number;
}

/**
 * Reports to the parent process, if one listens, that this process serves. From then on it drains this process when
 * the parent is gone, so that a killed parent leaves nothing running.
 */
export function announceReady(port: number): void {
  if (process.send === undefined) return;
  exitWithParent();
  if (process.connected) process.send({ type: 'ready', port } satisfies ReadyMessage);
}

/** Ends this process as SIGTERM would when the channel to its parent closes: the parent has died. */
function exitWithParent(): void {
  const drain = () => process.kill(process.pid, 'SIGTERM');
  if (!process.connected) {
    drain();
    return;
  }
  process.once('disconnect', drain);
  // Listening for 'disconnect' keeps the event loop alive; a drained process has to be able to end.
  process.channel?.unref();
}
