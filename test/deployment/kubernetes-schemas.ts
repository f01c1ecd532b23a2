import { createRequire } from 'node:module';
import type { KubernetesObject } from './kubernetes-objects.ts';

/*
 * Validation by the schemas of the npm package kubernetes-models, made from the API server's own OpenAPI document, and
 * @kubernetes-models/prometheus-operator. They do not mind fields that do not exist; what the validator never looked at
 * is such a field, so the object is given to it behind a proxy that notes what was read.
 */

const require = createRequire(import.meta.url);

const MODULES: Readonly<Record<string, string>> = {
  v1: 'kubernetes-models/v1',
  'apps/v1': 'kubernetes-models/apps/v1',
  'policy/v1': 'kubernetes-models/policy/v1',
  'scheduling.k8s.io/v1': 'kubernetes-models/scheduling.k8s.io/v1',
  'storage.k8s.io/v1': 'kubernetes-models/storage.k8s.io/v1',
  'networking.k8s.io/v1': 'kubernetes-models/networking.k8s.io/v1',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
};

type ModelClass = new (data: unknown) => { validate(): void };

/** What is wrong with an object by its schema; empty where nothing is. */
export function findSchemaProblems(object: KubernetesObject): string[] {
  const where = `${object.kind} ${object.metadata.name}`;
  const module = MODULES[object.apiVersion];
  if (module === undefined) return [`${where}: no schema of ${object.apiVersion} is known`];
  const Model = (require(module) as Record<string, ModelClass | undefined>)[object.kind];
  if (Model === undefined) return [`${where}: ${object.apiVersion} has no ${object.kind}`];
  const read = new Set<string>();
  const watched = watch(object, '', read) as KubernetesObject;
  const model = Object.create(Model.prototype) as { validate(): void };
  for (const key of Object.keys(object)) {
    Object.defineProperty(model, key, { enumerable: true, get: () => watched[key] });
  }
  try {
    model.validate();
  } catch (error) {
    return [`${where}: ${error instanceof Error ? error.message : String(error)}`];
  }
  return findUnread(object, '', read).map(path => `${where}: there is no field ${path}`);
}

function watch(value: unknown, path: string, read: Set<string>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return new Proxy(value, {
    get: (target, key, receiver) => {
      const inner = Reflect.get(target, key, receiver);
      if (typeof key === 'symbol') return inner;
      const innerPath = `${path}.${key}`;
      read.add(innerPath);
      return watch(inner, innerPath, read);
    },
  });
}

/** Fields beside others that were read; where none was, the schema leaves the object open. */
function findUnread(value: unknown, path: string, read: ReadonlySet<string>): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const keys = Object.keys(value);
  const isKnown = (key: string) => read.has(`${path}.${key}`);
  if (!keys.some(isKnown)) return [];
  return keys.flatMap(key =>
    isKnown(key)
      ? findUnread((value as Record<string, unknown>)[key], `${path}.${key}`, read)
      : [`${path}.${key}`],
  );
}
