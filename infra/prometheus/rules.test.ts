import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { remedyOf, STATUS_BOUNDS } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
const groups = parse(read('rules.yml')).groups as { rules: Rule[] }[];
const rules = groups.flatMap(group => group.rules);
const expressions = (alert: string) =>
  rules
    .filter(rule => rule.alert === alert)
    .map(({ expr }) => expr)
    .join('\n');

describe('every alert', () => {
  it.each(rules.map(rule => [rule.alert, rule] as const))(
    '%s says what, how bad, and where to read on',
    (alert, rule) => {
      expect(alert).toMatch(/^Onewriter[A-Z]\w+$/);
      expect(['critical', 'warning']).toContain(rule.labels.severity);
      expect(Object.keys(rule.annotations)).toEqual(['summary', 'description', 'runbook']);
      expect(rule.annotations['runbook']).toMatch(
        new RegExp(`^docs/(operations|replication|hibernate)\\.md#${alert.toLowerCase()}$`),
      );
    },
  );

  const docs = fileURLToPath(new URL('../../docs', import.meta.url));
  it.runIf(existsSync(docs))('has its section on the page that it names', () => {
    const anchorsOf = (page: string) => {
      const headings = readFileSync(join(docs, '..', page), 'utf8').match(/^#+ .*$/gm) ?? [];
      return headings.map(heading => heading.replace(/^#+ /, '').replaceAll('`', '').toLowerCase());
    };
    const isMissing = ({ annotations }: Rule) => {
      const [page, anchor] = annotations['runbook']!.split('#');
      return !anchorsOf(page!).includes(anchor!);
    };
    expect(rules.filter(isMissing).map(({ alert }) => alert)).toEqual([]);
  });
});

it('are the same in a cluster', () => {
  const inCluster = parse(read('../kubernetes/components/monitoring/prometheus-rule.yaml'));
  expect(inCluster.spec.groups).toEqual(groups);
});

describe('the overview page and the alerts', () => {
  it('have the same names for what is wrong', () => {
    const source = read('../../shared/protocol/src/status-findings.ts');
    const found = new Set(source.match(/'Onewriter\w+'/g)?.map(name => name.slice(1, -1)));
    expect(found.size).toBeGreaterThan(10);
    const alerts = new Set(rules.map(({ alert }) => alert));
    // No metric shows this: a person paused a tenant on purpose.
    alerts.add('OnewriterTenantPaused');
    expect([...found].filter(name => !alerts.has(name))).toEqual([]);
    expect([...found].filter(name => remedyOf(name) === undefined)).toEqual([]);
  });

  it('judge by the same bounds', () => {
    const seconds = (ms: number) => `> ${ms / 1_000}`;
    expect(expressions('OnewriterCommitsSlow')).toContain(seconds(STATUS_BOUNDS.commitP99Ms));
    expect(expressions('OnewriterWritesDelayed')).toContain(seconds(STATUS_BOUNDS.delayMs));
    expect(expressions('OnewriterQueueDeep')).toContain(`> ${STATUS_BOUNDS.tenantQueuedJobs}`);
    expect(expressions('OnewriterLaneHeld')).toContain(seconds(STATUS_BOUNDS.laneHeldMs));
    expect(expressions('OnewriterApartHeld')).toContain(seconds(STATUS_BOUNDS.laneHeldMs));
    expect(expressions('OnewriterDiskFull')).toContain(`< ${STATUS_BOUNDS.diskFreeShare}\n`);
    expect(expressions('OnewriterDiskFull')).toContain(`< ${STATUS_BOUNDS.diskFreeShareCritical}`);
    expect(expressions('OnewriterRedisMemory')).toContain(`> ${STATUS_BOUNDS.redisMemoryShare}`);
    expect(expressions('OnewriterEventLoopSlow')).toContain(seconds(STATUS_BOUNDS.eventLoopDelayMs));
    expect(expressions('OnewriterReplicaLag')).toContain(seconds(STATUS_BOUNDS.replicaLagMs));
    expect(expressions('OnewriterReplicaBuffer')).toContain(`> ${STATUS_BOUNDS.replicaBufferShare}`);
    expect(expressions('OnewriterReplicaUnverified')).toContain(seconds(STATUS_BOUNDS.replicaUnverifiedMs));
    expect(expressions('OnewriterReplicaCopyBehind')).toContain(seconds(STATUS_BOUNDS.replicaCopyBehindMs));
    expect(expressions('OnewriterTooFewOpenFiles')).toContain(`> ${STATUS_BOUNDS.evictedPerSecond} `);
    expect(expressions('OnewriterTooFewOpenFiles')).toContain(`> ${STATUS_BOUNDS.evictedShare} `);
  });
});
