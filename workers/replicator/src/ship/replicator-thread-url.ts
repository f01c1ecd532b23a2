/** The built file of the thread that stores what is captured; it expects `ReplicatorData` as workerData. From the sources, too. */
export const replicatorThreadUrl: URL = new URL('../../dist/ship/replicator-thread.js', import.meta.url);
