import { describe, expect, it, vi } from 'vitest';
import type { LaneWork } from './lane.ts';
import { type MemoryFinding, MemoryWatch, type WatchedLane } from './memory-watch.ts';

const MIB = 1_024 * 1_024;
const LIMIT = 100 * MIB;

/** Lanes and the memory of the process, as the test says. */
class Model {
  bytes = 300 * MIB;
  looks = 0;
  isOutOfDescriptors = false;
  readonly lanes = [0, 1].map(() => new ModelLane());
  readonly findings: MemoryFinding[] = [];
  readonly watch = new MemoryWatch(
    () => this.lanes,
    LIMIT,
    finding => this.findings.push(finding),
    () => {
      this.looks++;
      if (this.isOutOfDescriptors) throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
      return this.bytes;
    },
    0,
  );

  grow(mib: number): this {
    this.bytes += mib * MIB;
    this.watch.look();
    return this;
  }

  get found() {
    return this.findings.map(finding =>
      finding.kind === 'one' ? finding.write.jobId : finding.writes.map(({ jobId }) => jobId),
    );
  }
}

class ModelLane implements WatchedLane {
  work: LaneWork | undefined;
  position = { job: 0, op: 0 };
  begunBytes = 0;

  begin(id: string, bytes = 0): this {
    this.work = { task: { jobs: [{ id }] } } as unknown as LaneWork;
    this.begunBytes += bytes * MIB;
    return this;
  }
}

describe('memory that a statement uses', () => {
  it('is found, including memory used before the first look', () => {
    const model = new Model();
    model.lanes[0]!.begin('heavy');
    model.grow(60);
    expect(model.found).toEqual([]);
    model.grow(40);
    expect(model.found).toEqual(['heavy']);
    expect(model.findings[0]).toMatchObject({ kind: 'one', write: { op: 0, grownBytes: LIMIT } });
    expect(model.grow(500).found).toEqual(['heavy']);
  });

  it('is found by a later look where the process can open no file for one', () => {
    const model = new Model();
    model.lanes[0]!.begin('heavy');
    model.grow(10);
    model.isOutOfDescriptors = true;
    expect(model.grow(100).found).toEqual([]);
    model.isOutOfDescriptors = false;
    expect(model.grow(1).found).toEqual(['heavy']);
  });

  it('is that of one write: the next one starts from the current size', () => {
    const model = new Model();
    const [lane] = model.lanes;
    lane!.begin('job');
    for (let op = 0; op < 20; op++) {
      lane!.position = { job: 0, op };
      model.grow(90);
    }
    expect(model.found).toEqual([]);
    expect(model.grow(10).found).toEqual(['job']);
  });

  it('does not include memory that others may have used meanwhile', () => {
    const model = new Model();
    model.lanes[0]!.begin('slow');
    model.grow(0);
    for (let count = 0; count < 12; count++) {
      model.lanes[1]!.begin(`quick ${count}`, 10);
      model.grow(10);
    }
    expect(model.found).toEqual([]);
    model.lanes[1]!.work = undefined;
    expect(model.grow(100).found).toEqual(['slow']);
  });

  it('has no certain cause where two statements run: both run alone next', () => {
    const model = new Model();
    model.lanes[0]!.begin('first');
    model.grow(30);
    model.lanes[1]!.begin('second');
    model.grow(60);
    expect(model.found).toEqual([]);
    expect(model.grow(10).found).toEqual([['first', 'second']]);
  });

  it('has no certain cause where others may have used most of it, and yet is bounded', () => {
    const model = new Model();
    model.lanes[0]!.begin('slow');
    model.grow(0);
    model.lanes[1]!.begin('large', 500);
    model.grow(0);
    model.lanes[1]!.work = undefined;
    expect(model.grow(199).found).toEqual([]);
    expect(model.grow(1).found).toEqual([['slow']]);
  });

  it('is overrun by so much more', async () => {
    const model = new Model();
    const ending = new AbortController();
    let overrun = false;
    const waiting = model.watch.untilOverrun(0.5, ending.signal).then(() => {
      overrun = true;
    });
    model.bytes += LIMIT / 2 - 1;
    const seen = model.looks + 2;
    await vi.waitFor(() => expect(model.looks).toBeGreaterThanOrEqual(seen));
    expect(overrun).toBe(false);
    model.bytes += 1;
    await waiting;
    const aborted = model.watch.untilOverrun(0.5, ending.signal);
    ending.abort();
    await aborted;
  });
});
