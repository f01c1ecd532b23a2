import { parseAllDocuments } from 'yaml';

/** A Kubernetes object as YAML says it; what of it a rule needs is read by path. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  // biome-ignore lint/suspicious/noExplicitAny: manifests are checked by the schemas
  [part: string]: any;
}

/** The objects of a stream of YAML documents. @throws Error where one is not YAML */
export function parseManifests(yaml: string): KubernetesObject[] {
  return parseAllDocuments(yaml).map(document => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as KubernetesObject;
  });
}

/** StatefulSets and Deployments. */
export function workloadsOf(objects: readonly KubernetesObject[]): KubernetesObject[] {
  return objects.filter(({ kind }) => kind === 'StatefulSet' || kind === 'Deployment');
}

/** What a workload's first container runs: the image's role; undefined for images of others. */
export function roleOf(workload: KubernetesObject): string | undefined {
  return workload['spec'].template.spec.containers[0].args?.[0];
}
