import { explainReply, isOnewriterError, LEAST_RIGHTS, OnewriterError } from '@onewriter/protocol';
import { useColour } from '../colour.ts';
import { checkDropInUses, checkTokenless } from '../doctor/check-drop-in.ts';
import { checkMachine } from '../doctor/check-machine.ts';
import { checkBrokers, checkServices } from '../doctor/check-processes.ts';
import { checkReaders } from '../doctor/check-readers.ts';
import { checkRedis } from '../doctor/check-redis.ts';
import { checkTenants } from '../doctor/check-tenants.ts';
import { bad, type Diagnosis, type DiagnosisLevel, skipped } from '../doctor/diagnosis.ts';
import { EXIT } from '../exit-codes.ts';
import { openAnyRedis } from '../open-redis.ts';
import { count } from '../table.ts';
import { findTarget, type Target } from '../target.ts';

/** Options of `onewriter doctor`, as the command line gives them. */
export interface DoctorOptions {
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter doctor --json` prints. */
export interface DoctorReport {
  readonly dataDir: string | null;
  readonly errors: number;
  readonly warnings: number;
  readonly diagnoses: readonly Diagnosis[];
}

/** Looks for the usual mistakes and says what to do about each. @returns 3 where there is an error */
export async function doctor(options: DoctorOptions): Promise<number> {
  let target: Target | undefined;
  const diagnoses: Diagnosis[] = [];
  try {
    target = findTarget(options.dataDir);
    diagnoses.push(...(await diagnose(target)));
  } catch (error) {
    if (!isOnewriterError(error, 'MISCONFIGURED')) throw error;
    diagnoses.push(
      bad('error', 'settings', error.message, '`onewriter config` lists all settings; unset or mend these.'),
    );
  }
  const number = (level: DiagnosisLevel) => diagnoses.filter(diagnosis => diagnosis.level === level).length;
  const report: DoctorReport = {
    dataDir: target?.dataDir ?? null,
    errors: number('error'),
    warnings: number('warning'),
    diagnoses,
  };
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : asText(report));
  return report.errors > 0 ? EXIT.found : EXIT.ok;
}

async function diagnose(target: Target): Promise<Diagnosis[]> {
  const diagnoses = checkMachine(target);
  diagnoses.push(...checkReaders(target));
  try {
    const redis = await openAnyRedis(target);
    try {
      // One after the other: what follows may fail at a Redis with which something is wrong.
      diagnoses.push(...(await checkRedis(redis)));
      diagnoses.push(...(await checkBrokers(target, redis)));
      diagnoses.push(...(await checkTenants(target, redis)));
      diagnoses.push(...(await checkDropInUses(target, redis)));
    } finally {
      redis.disconnect();
    }
  } catch (error) {
    diagnoses.push(...redisFailed(error));
  }
  diagnoses.push(...(await checkServices(target)));
  diagnoses.push(await checkTokenless(target));
  return diagnoses;
}

function redisFailed(error: unknown): Diagnosis[] {
  const explained = explainReply(error);
  if (explained !== undefined) {
    return [
      bad('error', 'redis-rights', explained.message, `ACL SETUSER <user> ${LEAST_RIGHTS}`),
      skipped('leader', 'Redis refused to answer'),
      skipped('tenants', 'Redis refused to answer'),
    ];
  }
  const message = error instanceof Error ? error.message : String(error);
  const next = /WRONGPASS|NOAUTH/.test(message)
    ? 'Give the password in ONEWRITER_REDIS_URL: redis://default:<password>@<host>:<port>.'
    : error instanceof OnewriterError && error.code === 'MISCONFIGURED'
      ? 'Set ONEWRITER_REDIS_URL, or name the data directory of the `onewriter up` that runs.'
      : 'Start Redis, or set ONEWRITER_REDIS_URL right. Writes wait in the apps for some seconds and are refused then; what is committed is safe.';
  return [
    bad('error', 'redis', message, next),
    skipped('leader', 'this cannot be known without Redis'),
    skipped('tenants', 'this cannot be known without Redis'),
  ];
}

const COLOURS: Readonly<Record<DiagnosisLevel, number>> = {
  ok: 32,
  note: 36,
  warning: 33,
  error: 31,
  skipped: 2,
};

function asText({ errors, warnings, diagnoses }: DoctorReport): string {
  const colour = useColour(process.stdout);
  const paint = (level: DiagnosisLevel, text: string) =>
    colour ? `\u001b[${COLOURS[level]}m${text}\u001b[0m` : text;
  const lines = diagnoses.map(({ check, level, found, next }) => {
    const head = `${paint(level, level.padEnd(8))} ${check}: ${found}\n`;
    return next === null ? head : `${head}         → ${next}\n`;
  });
  const end =
    errors + warnings === 0
      ? 'Nothing is wrong.\n'
      : `${count(errors, 'error')}, ${count(warnings, 'warning')}: do what the arrows say, errors first.\n`;
  return lines.join('') + end;
}
