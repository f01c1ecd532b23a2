export * from './letter.ts';
export * from './letter-box.ts';
export * from './resend-job.ts';
