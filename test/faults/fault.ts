import type { Random } from '@onewriter/testkit';
import type { OracleOptions } from './oracle/options.ts';
import type { Rig, RigOptions } from './rig.ts';

/** What a round gets. */
export interface RoundContext {
  readonly rig: Rig;
  readonly random: Random;
  /** Counts from 1. */
  readonly round: number;
  /** Prints what is done, on the round's line. */
  say(text: string): void;
  /** Changes how the oracle judges the rig. */
  judgeBy(options: Partial<OracleOptions>): void;
  /** A figure to be shown at the end, as median and maximum. */
  measure(name: string, value: number): void;
  /** What was measured under a name, on all rigs so far. */
  figures(name: string): readonly number[];
}

/** A fault: what runs, and what is done to it. */
export interface Fault {
  readonly name: string;
  /** One sentence: what is injected. */
  readonly summary: string;
  readonly rig: RigOptions | ((place: { readonly folder: string; readonly random: Random }) => RigOptions);
  /** How the oracle judges. */
  readonly judgeBy?: Partial<OracleOptions> | undefined;
  /** Rounds of `npm run test:faults` without `--rounds`. */
  readonly rounds: number;
  /** Rounds on one rig, before the oracle judges and all processes are restarted. Default: 20. */
  readonly roundsPerRig?: number | undefined;
  /** Before the rig starts: programs, file systems. @throws CannotInject */
  prepare?(place: { readonly folder: string; readonly random: Random }): Promise<() => Promise<void>>;
  /** Injects the fault and takes it back. @throws FaultFailure, CannotInject */
  round(context: RoundContext): Promise<void>;
  /** After the last round of a rig, before clients finish. @throws FaultFailure */
  afterRounds?(context: RoundContext): Promise<void>;
}
