import { formatBytes, type PlannedFile } from '@onewriter/files';
import { shownText } from '@onewriter/protocol';
import { count, formatTable } from '../table.ts';

/** What {@link describePlan} needs besides the files. */
export interface PlanContext {
  readonly apply: boolean;
  readonly hiddenProcesses: number;
  /** The command that adopts the files. */
  readonly command: string;
}

/** Files that are listed each; of more only those with notes. */
const MAX_ROWS = 50;

/** What `onewriter adopt` prints before anything changes. */
export function describePlan(
  root: string,
  pattern: string,
  files: readonly PlannedFile[],
  context: PlanContext,
): string {
  const listed = files.length <= MAX_ROWS ? files : files.filter(({ notes }) => notes.length > 0);
  const table =
    listed.length === 0
      ? ''
      : formatTable(['tenant', 'file', 'size', 'journal', 'encoding', 'state'], listed.map(toRow));
  const notes = files.flatMap(({ path, notes }) =>
    notes.map(
      ({ level, check, found, next }) =>
        `${level.padEnd(8)}${shownText(`${path}  ${check}: ${found}`)}\n        → ${shownText(next)}\n`,
    ),
  );
  return [
    `${count(files.length, 'file')} below ${root}, as ${pattern} says\n`,
    table,
    ...notes,
    describeNames(files),
    describeHidden(context.hiddenProcesses),
    describeStates(files),
    context.apply ? '' : describeNext(files, context.command),
  ].join('');
}

function toRow({ tenant, path, bytes, journalMode, encoding, state }: PlannedFile): string[] {
  return [
    tenant ?? '-',
    shownText(path),
    bytes === undefined ? '-' : formatBytes(bytes),
    journalMode ?? '-',
    encoding ?? '-',
    state,
  ];
}

/** Clients name their tenants by id. */
function describeNames(files: readonly PlannedFile[]): string {
  const renamed = files.filter(({ tenant, name }) => tenant !== null && tenant !== name);
  if (renamed.length === 0) return '';
  const rows = renamed.map(({ name, tenant }) => [name, tenant!]);
  return `Clients use another id for these:\n${formatTable(['name', 'id'], rows)}`;
}

function describeHidden(processes: number): string {
  if (processes === 0) return '';
  const which = processes === 1 ? '1 process of another user' : `${processes} processes of other users`;
  return `${which} may have files open; run this as root to see.\n`;
}

function describeStates(files: readonly PlannedFile[]): string {
  const parts = (['ready', 'adopted', 'blocked'] as const).flatMap(state => {
    const number = files.filter(file => file.state === state).length;
    return number === 0 ? [] : [`${number} ${state}`];
  });
  return `${parts.join(', ')}\n`;
}

function describeNext(files: readonly PlannedFile[], command: string): string {
  if (!files.some(({ state }) => state === 'ready')) return 'Nothing was changed.\n';
  return [
    'Nothing was changed. From then on only Onewriter may write to these files: stop what opens them, and\n',
    'send writes to the gateway, the SDK or a libSQL address (docs/adopt.md). To adopt what is ready:\n',
    `  ${command}\n`,
  ].join('');
}
