export {
  type ErrorCode,
  type ErrorDetails,
  isOnewriterError,
  LIMITS,
  OnewriterError,
} from '@onewriter/protocol';
export { connect } from './client.ts';
export type * from './replica/replica-types.ts';
export type * from './steps-types.ts';
export type * from './types.ts';
export type * from './write/import-types.ts';
