import type { KubernetesObject } from './kubernetes-objects.ts';

/*
 * The level "restricted" of Kubernetes' Pod Security Standards, for every pod of an overlay and all containers of it, also those
 * that are not ours; and a root file system that is read-only, which the standard does not ask for.
 * Source: kubernetes.io/docs/concepts/security/pod-security-standards
 */

interface Container {
  readonly name: string;
  readonly ports?: readonly { readonly hostPort?: number }[];
  readonly securityContext?: {
    readonly allowPrivilegeEscalation?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
    readonly privileged?: boolean;
    readonly procMount?: string;
    readonly readOnlyRootFilesystem?: boolean;
    readonly runAsNonRoot?: boolean;
    readonly runAsUser?: number;
    readonly seccompProfile?: { readonly type: string };
  };
}

const VOLUMES = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
];
const SECCOMP = ['RuntimeDefault', 'Localhost'];
const ENFORCE = 'pod-security.kubernetes.io/enforce';

/** What the level refuses, or a namespace that does not ask for it; empty where nothing is wrong. */
export function findRestrictedProblems(objects: readonly KubernetesObject[]): string[] {
  const namespaces = objects.filter(({ kind }) => kind === 'Namespace');
  return [
    ...(namespaces.length > 0 &&
    namespaces.every(({ metadata }) => metadata.labels?.[ENFORCE] === 'restricted')
      ? []
      : ['the namespace does not enforce "restricted"']),
    ...objects.flatMap(object => {
      const spec = podSpecOf(object);
      const where = `${object.kind} ${object.metadata.name}`;
      return spec === undefined ? [] : findPodProblems(spec).map(problem => `${where}: ${problem}`);
    }),
  ];
}

// biome-ignore lint/suspicious/noExplicitAny: manifests are checked by the schemas
function podSpecOf({ kind, spec }: KubernetesObject): any {
  if (kind === 'Pod') return spec;
  return kind === 'CronJob' ? spec.jobTemplate.spec.template.spec : spec?.template?.spec;
}

// biome-ignore lint/suspicious/noExplicitAny: manifests are checked by the schemas
function findPodProblems(spec: any): string[] {
  const pod = spec.securityContext ?? {};
  const containers: Container[] = [...(spec.initContainers ?? []), ...spec.containers];
  const volumes: Record<string, unknown>[] = spec.volumes ?? [];
  return [
    ...['hostNetwork', 'hostPID', 'hostIPC'].filter(field => spec[field] === true),
    ...(pod.runAsUser === 0 ? ['runAsUser is 0'] : []),
    ...(pod.sysctls === undefined ? [] : ['sysctls']),
    ...volumes.flatMap(volume =>
      Object.keys(volume)
        .filter(key => key !== 'name' && !VOLUMES.includes(key))
        .map(key => `the volume ${volume['name']} is a ${key}`),
    ),
    ...containers.flatMap(container =>
      findContainerProblems(container, pod).map(problem => `${container.name}: ${problem}`),
    ),
  ];
}

function findContainerProblems(
  { ports = [], securityContext: own = {} }: Container,
  pod: NonNullable<Container['securityContext']>,
): string[] {
  const { drop = [], add = [] } = own.capabilities ?? {};
  const rules: Readonly<Record<string, boolean>> = {
    'runAsNonRoot is not true': (own.runAsNonRoot ?? pod.runAsNonRoot) === true,
    'runAsUser is 0': own.runAsUser !== 0,
    'seccompProfile is not RuntimeDefault': SECCOMP.includes(
      (own.seccompProfile ?? pod.seccompProfile)?.type ?? '',
    ),
    'allowPrivilegeEscalation is not false': own.allowPrivilegeEscalation === false,
    'it is privileged': own.privileged !== true,
    'capabilities are not dropped': drop.includes('ALL'),
    'capabilities are added': add.every(name => name === 'NET_BIND_SERVICE'),
    'it has a port of the host': ports.every(({ hostPort = 0 }) => hostPort === 0),
    'procMount is set': (own.procMount ?? 'Default') === 'Default',
    'the root file system is not read-only': own.readOnlyRootFilesystem === true,
  };
  return Object.entries(rules)
    .filter(([, isKept]) => !isKept)
    .map(([problem]) => problem);
}
