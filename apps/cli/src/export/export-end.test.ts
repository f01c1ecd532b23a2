import { expect, it } from 'vitest';
import { ExportEnd } from './export-end.ts';

it.each([
  ['sql', 'BEGIN;\nCOMMIT;\n', undefined],
  ['sql', 'BEGIN;\nCOMMIT', /COMMIT/],
  ['sql', '', /COMMIT/],
  ['ndjson', '{"a":1}\n{"onewriter_export":{"rows":1}}\n', undefined],
  ['ndjson', '{"onewriter_export":{"rows":0}}', undefined],
  ['ndjson', '{"a":1}\n', /closing/],
  ['ndjson', '{"a":', /closing/],
  ['ndjson', '{"onewriter_export":5}\n', /closing/],
  ['ndjson', '{"onewriter_export":null}\n', /closing/],
  ['ndjson', '{"onewriter_export":{"i":"5"}}\n', /closing/],
  ['csv', 'a', undefined],
])('sees whether %s ends: %j', (format, text, problem) => {
  // In pieces of every size.
  for (const size of [1, 7, 100]) {
    const end = new ExportEnd(format);
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) end.add(bytes.subarray(at, at + size));
    if (problem === undefined) expect(end.problem).toBeUndefined();
    else expect(end.problem).toMatch(problem);
  }
});
