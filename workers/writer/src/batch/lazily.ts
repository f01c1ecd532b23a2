/**
 * Makes a value when it is first asked for. For statements that few batches need: a tenant is opened the sooner the fewer
 * are compiled for it.
 */
export function lazily<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
