/** The built file that a thread pool loads; it expects `WriterThreadData` as workerData. */
export const writerThreadUrl: URL = new URL('./writer-thread.js', import.meta.url);
