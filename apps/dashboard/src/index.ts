export * from './board/readable-job.ts';
export * from './dashboard-app.ts';
