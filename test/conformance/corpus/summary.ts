import { count, type Difference, type FileReport } from './file-report.ts';
import { INTERFACES, type InterfaceName } from './interfaces.ts';
import type { CorpusRun } from './run-corpus.ts';

/** Totals of one interface. */
export interface InterfaceTotals {
  files: number;
  statements: number;
  equal: number;
  different: number;
  readonly refused: Record<string, number>;
  readonly documented: Record<string, number>;
  /** By kind. */
  readonly kinds: Record<string, KindTotals>;
}

interface KindTotals {
  count: number;
  /** Those that were the first of their database. */
  first: number;
  readonly examples: Difference[];
}

/** Examples of a kind that are printed: of those that follow from nothing, where there are any. */
const MAX_EXAMPLES = 3;

/** Adds up reports. */
export class Summary {
  readonly totals: Partial<Record<InterfaceName, InterfaceTotals>> = {};
  /** Counted on one interface: they are the same on all. */
  readonly skipped: Record<string, number> = {};
  #skippedOf: InterfaceName | undefined;

  add(report: FileReport): void {
    this.totals[report.through] ??= {
      ...{ files: 0, statements: 0, equal: 0, different: 0, refused: {}, documented: {}, kinds: {} },
    };
    const totals = this.totals[report.through]!;
    totals.files++;
    totals.statements += report.statements;
    totals.equal += report.equal;
    totals.different += report.different;
    for (const [rule, number] of Object.entries(report.refused)) count(totals.refused, rule, number);
    for (const [reason, number] of Object.entries(report.documented))
      count(totals.documented, reason, number);
    for (const difference of report.differences) addKind(totals.kinds, difference);
    this.#skippedOf ??= report.through;
    if (report.through !== this.#skippedOf) return;
    for (const [reason, number] of Object.entries(report.skipped)) count(this.skipped, reason, number);
  }

  get different(): number {
    return Object.values(this.totals).reduce((sum, { different }) => sum + different, 0);
  }

  /** @param seconds how long it took */
  toText({ unknownFiles, givenUp }: CorpusRun, seconds: number): string {
    const lines: string[] = [];
    const names = INTERFACES.filter(name => this.totals[name] !== undefined);
    const columns = names.map(name => this.totals[name]!);
    const row = (title: string, numbers: readonly number[]) =>
      lines.push(
        `${title.slice(0, 84).padEnd(86)}${numbers.map(number => `${number}`.padStart(9)).join('')}`,
      );
    const section = (title: string, of: (totals: InterfaceTotals) => Record<string, number>) => {
      const keys = new Set(columns.flatMap(totals => Object.keys(of(totals))));
      if (keys.size === 0) return;
      lines.push('', title);
      for (const key of [...keys].sort()) {
        row(
          `  ${key}`,
          columns.map(totals => of(totals)[key] ?? 0),
        );
      }
    };
    lines.push(`${''.padEnd(86)}${names.map(name => name.padStart(9)).join('')}`);
    for (const key of ['files', 'statements', 'equal'] as const) {
      row(
        key,
        columns.map(totals => totals[key]),
      );
    }
    for (const key of ['refused', 'documented'] as const) {
      row(
        key,
        columns.map(totals => sum(totals[key])),
      );
    }
    row(
      'different',
      columns.map(totals => totals.different),
    );
    section('Refused, by rule (not run on plain SQLite either)', totals => totals.refused);
    section('Documented differences', totals => totals.documented);
    section('Different, by kind (those that were the first of their database)', totals =>
      Object.fromEntries(Object.entries(totals.kinds).map(([kind, { first }]) => [kind, first])),
    );
    section('Different, by kind (all; what follows from another difference included)', totals =>
      Object.fromEntries(Object.entries(totals.kinds).map(([kind, totals]) => [kind, totals.count])),
    );
    for (const totals of columns) lines.push(...describeExamples(totals));
    if (Object.keys(this.skipped).length > 0) {
      lines.push('', `Skipped${this.#skippedOf === undefined ? '' : ` (counted for ${this.#skippedOf})`}`);
      for (const [reason, number] of Object.entries(this.skipped).sort()) row(`  ${reason}`, [number]);
    }
    if (unknownFiles.length > 0) lines.push('', `In neither format: ${unknownFiles.length} files`);
    if (givenUp.length > 0) lines.push('', `Given up: ${givenUp.join(', ')}`);
    lines.push('', `${seconds.toFixed(0)} s`);
    return `${lines.join('\n')}\n`;
  }
}

function addKind(kinds: Record<string, KindTotals>, difference: Difference): void {
  kinds[difference.kind] ??= { count: 0, first: 0, examples: [] };
  const kind = kinds[difference.kind]!;
  kind.count++;
  if (!difference.follows) kind.first++;
  if (kind.examples.length < MAX_EXAMPLES) kind.examples.push(difference);
  else if (!difference.follows) {
    const follower = kind.examples.findIndex(({ follows }) => follows);
    if (follower >= 0) kind.examples[follower] = difference;
  }
}

function describeExamples(totals: InterfaceTotals): string[] {
  return Object.entries(totals.kinds).flatMap(([kind, { examples }]) => [
    '',
    `${examples[0]!.through}: ${kind}`,
    ...examples.flatMap(({ file, line, sql, here, plain, follows }) => [
      `  ${file}:${line}${follows ? ' (follows another)' : ''}`,
      ...[`    ${oneLine(sql)}`, `    here:  ${oneLine(here)}`, `    plain: ${oneLine(plain)}`],
    ]),
  ]);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, 300);
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, number) => total + number, 0);
}
