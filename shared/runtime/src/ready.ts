/** What a process tells its parent when it serves; `onewriter up` waits for it. */
export interface ReadyMessage {
  readonly type: 'ready';
  /** Port of its HTTP server. */
  readonly port: number;
}

/** Tells the parent process, if there is one that listens, that this process serves. */
export function announceReady(port: number): void {
  process.send?.({ type: 'ready', port } satisfies ReadyMessage);
}
