import type { KubernetesObject } from './kubernetes-objects.ts';
import { roleOf, workloadsOf } from './kubernetes-objects.ts';

/** What the processes themselves say, for {@link findRuleProblems}. */
export interface ProcessFacts {
  /** The port that each role listens on by default. */
  readonly ports: Readonly<Record<string, number>>;
  /** Paths that each role answers with 200: probes without a token, metrics with theirs. */
  readonly paths: Readonly<Record<string, readonly string[]>>;
  /** ONEWRITER_… variables that exist. */
  readonly variables: ReadonlySet<string>;
  /** Names that Prometheus' rules know processes by. */
  readonly jobs: readonly string[];
  /** Default of ONEWRITER_DRAIN_MS. */
  readonly drainMs: number;
}

/** From the last byte of a drained process to its end, and what a busy node adds. */
const STOP_MARGIN_SECONDS = 5;
/** Folders that are on a node's root disk unless another volume is mounted there. */
const ROOT_DISK = /^\/(?:var|home|opt|tmp|root|etc|usr)(?:\/|$)/;
const OUR_ROLES = ['broker', 'gateway', 'dashboard', 'kanban'];
/** Variables that must come from a Secret. */
const SECRET_VARIABLE = /(?:SECRET|TOKEN|PASSWORD|REDIS_URL|ACCESS_KEY|REPLICA_KEY)$/;
/** Where credentials of the replica's store are, for all who speak to such stores. */
const STORE_VARIABLES: ReadonlySet<string> = new Set([
  ...['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION', 'AWS_ENDPOINT_URL_S3'],
]);
/** Each is documented where it is needed. */
const SECRETS: ReadonlySet<string | undefined> = new Set(['onewriter', 'onewriter-replica']);

/** What breaks our rules in the objects of one overlay; empty where nothing does. */
export function findRuleProblems(objects: readonly KubernetesObject[], facts: ProcessFacts): string[] {
  const ours = workloadsOf(objects).filter(workload => OUR_ROLES.includes(roleOf(workload) ?? ''));
  return [
    ...OUR_ROLES.filter(role => !ours.some(workload => roleOf(workload) === role)).map(
      role => `nothing runs the role ${role}`,
    ),
    ...findWriterProblems(objects, ours),
    ...ours.flatMap(workload => [
      ...findStopProblems(objects, workload, facts),
      ...findProbeProblems(workload, facts),
      ...findSettingProblems(objects, workload, facts),
      ...findSecurityProblems(workload),
      ...findBudgetProblems(objects, workload),
      ...findPlaceProblems(objects, workload),
    ]),
    ...findNetworkProblems(objects, ours),
    ...findMonitorProblems(objects, facts),
    ...objects
      .filter(({ kind }) => kind === 'Secret')
      .map(({ metadata }) => `Secret ${metadata.name} is in a file`),
  ];
}

/** Two writers at a time, of one rollout or of several workloads, are safe only behind one lease and one set of files. */
function findWriterProblems(
  objects: readonly KubernetesObject[],
  ours: readonly KubernetesObject[],
): string[] {
  const writers = ours.filter(workload => roleOf(workload) === 'broker');
  const atOnce = writers.reduce((sum, writer) => sum + mostPods(writer), 0);
  if (atOnce < 2) return [];
  const problems: string[] = [];
  const fences = writers.map(writer => {
    const claim = claimAt(writer, '/data');
    if (claim === undefined) problems.push(`${nameOf(writer)}: each pod has files of its own`);
    return JSON.stringify([
      claim,
      settingOf(objects, writer, 'ONEWRITER_REDIS_URL'),
      settingOf(objects, writer, 'ONEWRITER_GROUP'),
    ]);
  });
  if (new Set(fences).size > 1) problems.push('the brokers do not share Redis, group and files');
  return problems.map(problem => `two writers without a fence: ${problem}`);
}

/** Pods of a workload that can run at one time. */
function mostPods(workload: KubernetesObject): number {
  const { replicas = 1, strategy } = workload['spec'];
  if (workload.kind === 'StatefulSet' || strategy?.type === 'Recreate') return replicas;
  return replicas + (strategy?.rollingUpdate?.maxSurge === 0 ? 0 : 1);
}

function findStopProblems(
  objects: readonly KubernetesObject[],
  workload: KubernetesObject,
  facts: ProcessFacts,
): string[] {
  const { spec } = workload['spec'].template;
  const preStop = spec.containers[0].lifecycle?.preStop;
  const preStopSeconds = Number(preStop?.sleep?.seconds ?? preStop?.exec?.command?.[1] ?? 0);
  const drainMs = Number(settingOf(objects, workload, 'ONEWRITER_DRAIN_MS') ?? facts.drainMs);
  const needed = preStopSeconds + drainMs / 1_000 + STOP_MARGIN_SECONDS;
  const grace = spec.terminationGracePeriodSeconds ?? 30;
  return grace >= needed
    ? []
    : [`${nameOf(workload)}: ${grace} s of grace are less than the ${needed} s it may take`];
}

function findProbeProblems(workload: KubernetesObject, facts: ProcessFacts): string[] {
  const role = roleOf(workload)!;
  const container = workload['spec'].template.spec.containers[0];
  const wanted = { startupProbe: '/livez', livenessProbe: '/livez', readinessProbe: '/readyz' };
  return Object.entries(wanted).flatMap(([probe, path]) => {
    const get = container[probe]?.httpGet;
    if (get === undefined) return [`${nameOf(workload)}: no ${probe}`];
    const port = container.ports.find((one: { name: string }) => one.name === get.port)?.containerPort;
    return [
      ...(get.path === path ? [] : [`${nameOf(workload)}: the ${probe} asks ${get.path}`]),
      ...(facts.paths[role]?.includes(get.path) ? [] : [`${nameOf(workload)}: ${role} has no ${get.path}`]),
      ...(port === facts.ports[role] ? [] : [`${nameOf(workload)}: the ${probe} asks port ${port}`]),
    ];
  });
}

function findSettingProblems(
  objects: readonly KubernetesObject[],
  workload: KubernetesObject,
  facts: ProcessFacts,
): string[] {
  const container = workload['spec'].template.spec.containers[0];
  const problems: string[] = [];
  for (const { configMapRef } of container.envFrom ?? []) {
    const map = find(objects, 'ConfigMap', configMapRef.name);
    if (map === undefined) problems.push(`there is no ConfigMap ${configMapRef.name}`);
    for (const name of Object.keys(map?.['data'] ?? {})) {
      if (!facts.variables.has(name)) problems.push(`there is no setting ${name}`);
      if (SECRET_VARIABLE.test(name)) problems.push(`${name} is in a file`);
    }
  }
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (!facts.variables.has(name) && !STORE_VARIABLES.has(name))
      problems.push(`there is no setting ${name}`);
    if (SECRET_VARIABLE.test(name) && value !== undefined) problems.push(`${name} is in a file`);
    if (valueFrom !== undefined && !SECRETS.has(valueFrom.secretKeyRef?.name)) {
      problems.push(`${name} comes from a Secret that is not documented`);
    }
  }
  return problems.map(problem => `${nameOf(workload)}: ${problem}`);
}

function findSecurityProblems(workload: KubernetesObject): string[] {
  const { securityContext: pod, containers, automountServiceAccountToken } = workload['spec'].template.spec;
  const { securityContext: own, resources } = containers[0];
  const wanted: [string, unknown, unknown][] = [
    ['runAsNonRoot', pod?.runAsNonRoot, true],
    ['seccompProfile', pod?.seccompProfile?.type, 'RuntimeDefault'],
    ['automountServiceAccountToken', automountServiceAccountToken, false],
    ['allowPrivilegeEscalation', own?.allowPrivilegeEscalation, false],
    ['readOnlyRootFilesystem', own?.readOnlyRootFilesystem, true],
    ['capabilities.drop', own?.capabilities?.drop?.join(), 'ALL'],
    ['requests of CPU and memory', Boolean(resources?.requests?.cpu && resources?.requests?.memory), true],
    ['a limit of memory', Boolean(resources?.limits?.memory), true],
  ];
  return wanted
    .filter(([, is, should]) => is !== should)
    .map(([what, is, should]) => `${nameOf(workload)}: ${what} is ${String(is)}, not ${String(should)}`);
}

/** Where more than one pod runs, a drained node must leave one; where one runs, it must not be kept for ever. */
function findBudgetProblems(objects: readonly KubernetesObject[], workload: KubernetesObject): string[] {
  const budget = objects.find(
    ({ kind, spec }: KubernetesObject) =>
      kind === 'PodDisruptionBudget' && selects(spec.selector, labelsOf(workload)),
  );
  const replicas = workload['spec'].replicas ?? 1;
  const minAvailable = Number(budget?.['spec'].minAvailable ?? 0);
  if (replicas > 1 && minAvailable < 1) return [`${nameOf(workload)}: no PodDisruptionBudget keeps one pod`];
  return minAvailable < replicas
    ? []
    : [`${nameOf(workload)}: its PodDisruptionBudget lets no node be drained`];
}

/** Pods with files: on a claim of one node, where the volume says; apps read-only, with another way to read. */
function findPlaceProblems(objects: readonly KubernetesObject[], workload: KubernetesObject): string[] {
  // It asks the gateway for what is in files.
  if (roleOf(workload) === 'dashboard') return [];
  const name = claimAt(workload, '/data');
  const claim = objects.find(
    ({ kind, metadata }) => kind === 'PersistentVolumeClaim' && metadata.name === name,
  );
  if (claim === undefined) return [`${nameOf(workload)}: /data is not the claim of the files`];
  const problems: string[] = [];
  if (claim['spec'].accessModes.join() !== 'ReadWriteOnce') problems.push('the files are not on one node');
  const volume = objects.find(
    ({ kind, metadata }) => kind === 'PersistentVolume' && metadata.name === claim['spec'].volumeName,
  );
  const volumeNodes = JSON.stringify(volume?.['spec'].nodeAffinity?.required.nodeSelectorTerms);
  const podNodes = JSON.stringify(
    workload['spec'].template.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
      .nodeSelectorTerms,
  );
  if (volume !== undefined && volume['spec'].local === undefined) problems.push('the volume is not local');
  if (podNodes !== volumeNodes) problems.push('the pod is not sent to the node of the files');
  if (volume !== undefined) problems.push(...findPressureProblems(objects, workload, volume));
  if (roleOf(workload) === 'kanban') {
    const mount = mountAt(workload, '/data');
    if (mount?.readOnly !== true) problems.push('an app can write the files');
    if (settingOf(objects, workload, 'ONEWRITER_GATEWAY_URL') === undefined) {
      problems.push('a tenant that the broker has closed cannot be read from a read-only mount');
    }
  }
  return problems.map(problem => `${nameOf(workload)}: ${problem}`);
}

/** The node of the files is the only one that can run these pods: what others do to its root disk must not keep them off it. */
function findPressureProblems(
  objects: readonly KubernetesObject[],
  workload: KubernetesObject,
  volume: KubernetesObject,
): string[] {
  const problems: string[] = [];
  if (ROOT_DISK.test(String(volume['spec'].local?.path))) problems.push('the files are on the root disk');
  if (roleOf(workload) === 'kanban') return problems;
  const { priorityClassName, tolerations = [] } = workload['spec'].template.spec;
  if (find(objects, 'PriorityClass', priorityClassName) === undefined) {
    problems.push('no priority class keeps it from being evicted first');
  }
  if (!tolerations.some(({ key }: { key?: string }) => key === 'node.kubernetes.io/disk-pressure')) {
    problems.push('it cannot start under disk pressure');
  }
  return problems;
}

function findNetworkProblems(
  objects: readonly KubernetesObject[],
  ours: readonly KubernetesObject[],
): string[] {
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy');
  const closed = policies.some(
    ({ spec }: KubernetesObject) =>
      Object.keys(spec.podSelector).length === 0 &&
      spec.policyTypes.length === 2 &&
      spec.ingress === undefined &&
      spec.egress === undefined,
  );
  const problems = closed ? [] : ['no NetworkPolicy closes the namespace'];
  for (const workload of ours) {
    const reachesRedis = policies.some(
      ({ spec }: KubernetesObject) =>
        selects(spec.podSelector, labelsOf(workload)) &&
        spec.egress?.some((rule: { ports?: { port: unknown }[] }) =>
          rule.ports?.some(({ port }) => port === 6379),
        ),
    );
    if (!reachesRedis) problems.push(`${nameOf(workload)}: no NetworkPolicy lets it reach Redis`);
  }
  for (const { metadata, spec } of policies as KubernetesObject[]) {
    for (const rule of spec.ingress ?? []) {
      if (rule.from === undefined) problems.push(`NetworkPolicy ${metadata.name} lets everyone in`);
    }
  }
  return problems;
}

function findMonitorProblems(objects: readonly KubernetesObject[], facts: ProcessFacts): string[] {
  return objects
    .filter(({ kind }) => kind === 'ServiceMonitor')
    .flatMap(({ metadata, spec }: KubernetesObject) => {
      const service = objects.find(
        (one: KubernetesObject) =>
          one.kind === 'Service' &&
          selects(spec.selector, one.metadata.labels ?? {}) &&
          one['spec'].ports.some((port: { name: string }) => port.name === spec.endpoints[0].port),
      );
      if (service === undefined) return [`ServiceMonitor ${metadata.name} finds no Service`];
      const { path, relabelings = [] } = spec.endpoints[0];
      const role = service.metadata.labels?.['app.kubernetes.io/name'] ?? '';
      const job = relabelings.find((one: { targetLabel?: string }) => one.targetLabel === 'job')?.replacement;
      return [
        ...(facts.paths[role]?.includes(path)
          ? []
          : [`ServiceMonitor ${metadata.name}: ${role} has no ${path}`]),
        ...(facts.jobs.includes(job) ? [] : [`ServiceMonitor ${metadata.name}: no rule knows a job ${job}`]),
      ];
    });
}

function nameOf({ kind, metadata }: KubernetesObject): string {
  return `${kind} ${metadata.name}`;
}

function find(
  objects: readonly KubernetesObject[],
  kind: string,
  name: string,
): KubernetesObject | undefined {
  return objects.find(one => one.kind === kind && one.metadata.name === name);
}

function labelsOf(workload: KubernetesObject): Record<string, string> {
  return workload['spec'].template.metadata.labels;
}

interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values: string[];
  }[];
}

function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(
      ({ key, operator, values }) => operator === 'In' && values.includes(labels[key] ?? ''),
    )
  );
}

function mountAt(workload: KubernetesObject, path: string) {
  const mounts: { name: string; mountPath: string; readOnly?: boolean }[] =
    workload['spec'].template.spec.containers[0].volumeMounts ?? [];
  return mounts.find(({ mountPath }) => mountPath === path);
}

/** The claim that all pods of a workload have at `path`; undefined where each has its own, or none. */
function claimAt(workload: KubernetesObject, path: string): string | undefined {
  const mount = mountAt(workload, path);
  const volumes: { name: string; persistentVolumeClaim?: { claimName: string } }[] =
    workload['spec'].template.spec.volumes ?? [];
  return volumes.find(({ name }) => name === mount?.name)?.persistentVolumeClaim?.claimName;
}

/** Where a setting comes from: its value, or the key of a Secret; undefined where it is not set. */
function settingOf(
  objects: readonly KubernetesObject[],
  workload: KubernetesObject,
  variable: string,
): string | undefined {
  const { env = [], envFrom = [] } = workload['spec'].template.spec.containers[0];
  const own = env.find(({ name }: { name: string }) => name === variable);
  if (own !== undefined) return own.value ?? JSON.stringify(own.valueFrom);
  for (const { configMapRef } of envFrom) {
    const value = find(objects, 'ConfigMap', configMapRef.name)?.['data'][variable];
    if (value !== undefined) return value;
  }
  return undefined;
}
