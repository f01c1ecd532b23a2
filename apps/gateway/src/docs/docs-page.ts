import { ERROR_CODES } from '@onewriter/protocol';
import { examples } from './examples.ts';

/** The parts of an OpenAPI document that the page shows. */
interface Document {
  readonly info: { readonly title: string; readonly description?: string | undefined };
  readonly paths?: Readonly<Record<string, Readonly<Record<string, Operation>>>> | undefined;
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> | undefined } | undefined;
}

interface Operation {
  readonly operationId?: string | undefined;
  readonly summary?: string | undefined;
  readonly description?: string | undefined;
  readonly parameters?: readonly Parameter[] | undefined;
  readonly requestBody?: { readonly content?: Content | undefined } | undefined;
  readonly responses?: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean | undefined;
  readonly description?: string | undefined;
  readonly schema?: Schema | undefined;
}

type Content = Readonly<Record<string, { readonly schema?: Schema | undefined }>>;

interface Schema {
  readonly $ref?: string | undefined;
  readonly type?: string | readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly enum?: readonly unknown[] | undefined;
  readonly items?: Schema | undefined;
  readonly properties?: Readonly<Record<string, Schema>> | undefined;
  readonly required?: readonly string[] | undefined;
  readonly anyOf?: readonly Schema[] | undefined;
  readonly additionalProperties?: Schema | boolean | undefined;
  readonly default?: unknown;
}

const METHODS = ['get', 'put', 'post', 'delete'];

/** Enumerations longer than this are shown as a count: the error table has a section of its own. */
const MAX_SHOWN_VALUES = 8;

/**
 * The page at /docs: plain HTML made from the document, without scripts, so that it needs nothing from anywhere.
 * @param url of the gateway as its reader knows it, for the examples
 */
export function renderDocsPage(document: unknown, url: string): string {
  const { info, paths = {}, components } = document as Document;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter(method => item[method] !== undefined).map(method => ({
      path,
      method,
      operation: item[method]!,
    })),
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(info.title)}</title>
<link rel="stylesheet" href="docs/style.css">
</head>
<body>
<h1>${escapeHtml(info.title)}</h1>
<p>${escapeHtml(info.description ?? '')} The machine-readable document is <a href="openapi.json">openapi.json</a>.</p>
<nav><ul>
<li><a href="#examples">Examples</a></li>
${operations.map(({ operation, path, method }) => `<li><a href="#${anchor(method, path)}">${escapeHtml(operation.summary ?? path)}</a></li>`).join('\n')}
<li><a href="#schemas">Schemas</a></li>
<li><a href="#errors">Errors</a></li>
</ul></nav>
<h2 id="examples">Examples</h2>
<p>Each runs as it stands, with a token in the environment variable <code>ONEWRITER_TOKEN</code>
(<code>onewriter token</code> makes one).</p>
${examples(url)
  .map(
    ({ language, code }) =>
      `<h3>${language}</h3>\n<pre data-language="${language}"><code>${escapeHtml(code)}</code></pre>`,
  )
  .join('\n')}
<h2>Routes</h2>
${operations.map(renderOperation).join('\n')}
<h2 id="schemas">Schemas</h2>
${Object.entries(components?.schemas ?? {})
  .map(renderSchema)
  .join('\n')}
<h2 id="errors">Errors</h2>
<p>Every error is <code>{"error":{"code", "message", "details", "requestId"}}</code> with the status of its code. A write
that failed with any code but OUTCOME_UNKNOWN was not applied.</p>
${table(
  ['code', 'status', 'try again', 'meaning'],
  Object.entries(ERROR_CODES).map(([code, row]) => [
    `<code>${code}</code>`,
    String(row.status),
    row.retryable ? 'yes' : '',
    escapeHtml(row.meaning),
  ]),
)}
</body>
</html>
`;
}

function renderOperation({
  path,
  method,
  operation,
}: {
  path: string;
  method: string;
  operation: Operation;
}): string {
  const parameters = (operation.parameters ?? []).map(parameter => [
    `<code>${escapeHtml(parameter.name)}</code>`,
    escapeHtml(parameter.in),
    describeType(parameter.schema),
    escapeHtml(parameter.description ?? parameter.schema?.description ?? ''),
  ]);
  const bodies = Object.entries(operation.requestBody?.content ?? {}).map(
    ([type, { schema }]) => `<li><code>${escapeHtml(type)}</code>: ${describeType(schema)}</li>`,
  );
  const answers = Object.entries(operation.responses ?? {}).map(([status, { description, content }]) => [
    escapeHtml(status),
    Object.entries(content ?? {})
      .map(([type, { schema }]) => `<code>${escapeHtml(type)}</code>: ${describeType(schema)}`)
      .join('<br>'),
    escapeHtml(description),
  ]);
  return `<section id="${anchor(method, path)}">
<h3><span class="method">${method.toUpperCase()}</span> <code>${escapeHtml(path)}</code></h3>
<p><b>${escapeHtml(operation.summary ?? '')}.</b> ${escapeHtml(operation.description ?? '')}</p>
${parameters.length === 0 ? '' : table(['parameter', 'in', 'type', ''], parameters)}
${bodies.length === 0 ? '' : `<p>Body:</p><ul>${bodies.join('')}</ul>`}
${table(['status', 'answer', ''], answers)}
</section>`;
}

function renderSchema([name, schema]: [string, Schema]): string {
  const required = new Set(schema.required ?? []);
  const properties = Object.entries(schema.properties ?? {}).map(([property, value]) => [
    `<code>${escapeHtml(property)}</code>${required.has(property) ? '' : '?'}`,
    describeType(value),
    escapeHtml(value.description ?? ''),
  ]);
  const body =
    properties.length === 0 ? `<p>${describeType(schema)}</p>` : table(['field', 'type', ''], properties);
  return `<details id="schema-${escapeHtml(name)}"><summary>${escapeHtml(name)}</summary>
<p>${escapeHtml(schema.description ?? '')}</p>${body}</details>`;
}

function describeType(schema: Schema | undefined): string {
  if (schema === undefined) return '';
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1)!;
    return `<a href="#schema-${escapeHtml(name)}">${escapeHtml(name)}</a>`;
  }
  if (schema.enum !== undefined) {
    return schema.enum.length > MAX_SHOWN_VALUES
      ? `one of ${schema.enum.length} texts`
      : schema.enum.map(value => `<code>${escapeHtml(JSON.stringify(value))}</code>`).join(' or ');
  }
  if (schema.anyOf !== undefined) return schema.anyOf.map(describeType).join(' or ');
  if (schema.items !== undefined) return `array of ${describeType(schema.items)}`;
  if (schema.properties !== undefined) {
    return `{${Object.entries(schema.properties)
      .map(([name, value]) => `<code>${escapeHtml(name)}</code>: ${describeType(value)}`)
      .join(', ')}}`;
  }
  if (typeof schema.additionalProperties === 'object') {
    return `object of ${describeType(schema.additionalProperties) || 'anything'}`;
  }
  const { type } = schema;
  return escapeHtml(typeof type === 'string' ? type : (type?.join(' or ') ?? 'anything'));
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = headings.map(heading => `<th>${heading}</th>`).join('');
  const body = rows.map(row => `<tr>${row.map(cell => `<td>${cell}</td>`).join('')}</tr>`).join('\n');
  return `<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}

function anchor(method: string, path: string): string {
  return `${method}-${path.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '')}`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`);
}
