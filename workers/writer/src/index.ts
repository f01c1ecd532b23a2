export * from './lane-task.ts';
