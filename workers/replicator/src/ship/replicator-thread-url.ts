/** The built file of the thread that stores what is captured; it expects `ReplicatorData` as workerData. */
export const replicatorThreadUrl: URL = new URL('./replicator-thread.js', import.meta.url);
