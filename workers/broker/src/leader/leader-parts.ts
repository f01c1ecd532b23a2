import type { Apart } from '../lanes/apart/apart.ts';
import type { BranchRequests } from '../replica/branch-requests.ts';
import type { Durabilities } from '../replica/durabilities.ts';
import type { Replica } from '../replica/replica.ts';
import type { ReplicaState } from '../replica/replica-state.ts';
import type { SessionContext } from '../tenant/session/tenant-session.ts';
import type { Hibernation } from './hibernation.ts';
import type { LeaderOptions } from './leader-options.ts';
import type { LeaderPhase } from './leader-phase.ts';
import type { OpenSessions } from './open-sessions.ts';

/** What the parts of one leader share. */
export interface LeaderParts {
  readonly options: LeaderOptions;
  readonly phase: LeaderPhase;
  readonly services: SessionContext;
  readonly apart: Apart;
  readonly replica: ReplicaState;
  /** The same, where there is a store. */
  readonly shipping: Replica | undefined;
  readonly durabilities: Durabilities;
  readonly branches: BranchRequests;
  readonly hibernation: Hibernation | undefined;
  readonly sessions: OpenSessions;
}
