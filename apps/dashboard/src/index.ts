export * from './dashboard-app.ts';
export * from './readable-job.ts';
