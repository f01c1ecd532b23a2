/** Events of an answer, one on each line. Lines end with LF, and with nothing else: a message may have any other character. */
export async function* readEvents<T>({ body }: Response): AsyncGenerator<T, void, undefined> {
  if (body === null) return;
  let pending = '';
  for await (const text of body.pipeThrough(new TextDecoderStream() as never) as AsyncIterable<string>) {
    const lines = (pending + text).split('\n');
    pending = lines.pop()!;
    for (const line of lines) yield JSON.parse(line) as T;
  }
  if (pending !== '') yield JSON.parse(pending) as T;
}
