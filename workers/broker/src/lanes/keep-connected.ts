import type { CaptureLink } from '../replica/capture-link.ts';
import type { LaneRunner } from './lane-thread.ts';

/**
 * Connects what runs a lane's tasks with the replicator: now, where it is replaced, and where the replicator was started again.
 * @returns ends it
 */
export function keepConnected(runner: LaneRunner, capture: CaptureLink): () => void {
  let isOver = false;
  const connect = () => {
    if (!isOver) runner.connect(capture.open());
  };
  connect();
  runner.onStart(connect);
  const removeListener = capture.onRestart(connect);
  return () => {
    isOver = true;
    removeListener();
  };
}
