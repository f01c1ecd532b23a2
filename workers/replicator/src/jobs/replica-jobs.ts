/* What processes of jobs of this package do; each is called by its name (replica-access.ts). */
export { compact } from '../compact/compact-in-process.ts';
export { noteMissing } from '../hibernate/note-missing.ts';
export { proveStored } from '../hibernate/prove-stored.ts';
export { stageLitestream } from '../litestream/put-litestream.ts';
export { findBranchPoint } from '../restore/branch-tenant.ts';
export { restoreMissing } from '../restore/restore-all.ts';
export { stageReplica } from '../restore/restore-point.ts';
export { copyStored } from '../snapshot/copy-branch.ts';
export { takeSnapshot } from '../snapshot/snapshot-tenant.ts';
export { rehearse } from '../verify/verify-tenant.ts';
export { readHistory } from './read-history.ts';
