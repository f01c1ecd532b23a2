import { describe, expect, it } from 'vitest';
import { limitedBy } from './scale/run-scale.ts';
import { growthOf, type ScaleLimits, stepsUpTo } from './scale/scale-part.ts';
import { curveRows, NoResults, readLastReport, type ScaleReport, targetRows } from './scale/scale-report.ts';
import { sizingRows } from './scale/sizing-table.ts';

const line = (...values: number[]) => ({ points: values.map((y, x) => ({ x, y })) });

describe('--scale', () => {
  it('judges how much a cost grows, not how much it falls', () => {
    expect(growthOf(line(4, 2, 1))).toBe(1);
    expect(growthOf(line(4, 2, 3, 1))).toBe(1.5);
    expect(growthOf(line(1, 5, 4))).toBe(5);
    expect(growthOf(line())).toBeNaN();
    const curve = { id: 'c', title: 'cost', xLabel: 'n', yLabel: 'µs' };
    const lines = [
      { label: 'a', ...line(1, 1.2), isFlat: true },
      { label: 'b', ...line(1, 2), isFlat: true },
      { label: 'c', ...line(1, 2), isFlat: true, why: 'known' },
      { label: 'd', ...line(1, 2), isFlat: false },
    ];
    const verdicts = curveRows([{ ...curve, lines }]).map(row => row.at(-1));
    expect(verdicts.slice(1)).toEqual(['flat', 'NOT FLAT', 'not flat: known', '']);
  });

  it('goes in steps up to a limit, which the environment can set', () => {
    expect(stepsUpTo(256, [1, 16, 256, 1_024])).toEqual([1, 16, 256]);
    expect(stepsUpTo(600, [100, 1_000])).toEqual([100, 600]);
    expect(stepsUpTo(600, [100, 1_000], true)).toEqual([600]);
    const limits = { maxTenants: 1, maxFileMib: 2, importRows: 3, measureMs: 4, rounds: 5, warmupMs: 6 };
    expect(limitedBy({ BENCH_SCALE_TENANTS: '70' }, limits)).toEqual({ ...limits, maxTenants: 70 });
    expect(limitedBy({ BENCH_SCALE_LAST_STEP: '1' }, limits)).toEqual({ ...limits, lastStepOnly: true });
    expect(() => limitedBy({ BENCH_SCALE_FILE_MIB: '4G' }, limits)).toThrow(
      /BENCH_SCALE_FILE_MIB takes a whole/,
    );
  });

  it('says which run is missing where there is none to make the table of', async () => {
    const folder = '/no/such/folder';
    const missing = readLastReport(folder, { quick: true });
    await expect(missing).rejects.toBeInstanceOf(NoResults);
    await expect(missing).rejects.toThrow(
      `There are no results in ${folder}/results.json: run \`npm run bench -- --scale --quick\` first`,
    );
    await expect(readLastReport('/dev/null', { quick: false })).rejects.toThrow('ENOTDIR');
  });

  it('says of each target whether it was reached', () => {
    const target = { what: 'writes', asked: 'at least 10/s', measured: '12/s', passed: true };
    const part = { id: 'a', title: '', othersBefore: 0, seconds: 1 };
    const rows = targetRows([
      { ...part, result: { curves: [], facts: {} } },
      { ...part, result: { curves: [], facts: {}, targets: [target, { ...target, passed: false }] } },
    ]);
    expect(rows.slice(1).map(row => row.at(-1))).toEqual(['pass', 'NO']);
  });

  it('has a row of sizes for each figure that was measured, and none for another', () => {
    const facts = { brokerIdleMib: 100.4, fdsPerOpenTenant: 4 };
    const report: ScaleReport = {
      ...{ machine: {} as ScaleReport['machine'], limits: {} as ScaleLimits, quick: true, partial: true },
      ...{ finishedAt: '', seconds: 1 },
      parts: [{ id: 'tenants', title: '', othersBefore: 0, seconds: 1, result: { curves: [], facts } }],
    };
    expect(sizingRows(report).slice(1)).toEqual([
      ['memory of the broker that has just started', '100 MiB'],
      ['open files of the broker for an open tenant', '4'],
    ]);
  });
});
