/** The built file of a thread that brings hibernated tenants back; it expects `WakeThreadData` as workerData. From the sources, too. */
export const wakeThreadUrl: URL = new URL('../../dist/hibernate/wake-thread.js', import.meta.url);
