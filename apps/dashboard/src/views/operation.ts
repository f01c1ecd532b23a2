import { isEnded, type OperationWithLog } from '@onewriter/operations';
import { formatTime } from './format.ts';
import { type Html, html, NOTHING } from './html.ts';
import { cancelForm, progressText, stateChip, tenantLinks } from './operation-list.ts';
import { type Regions, region } from './regions.ts';

/** One operation, with its lines and its result. */
export function operationPage(operation: OperationWithLog): Html {
  const { kind, id } = operation;
  return html`<div><h1>${kind}</h1><p class="hint"><code>${id}</code></p></div>
    ${region('operation', operationRegions(operation))}`;
}

/** What changes on the page. */
export function operationRegions(operation: OperationWithLog): Regions {
  const { state, who, detail, createdAt, startedAt, endedAt, cancelledBy, error, result, log } = operation;
  const fact = (name: string, value: Html | string) =>
    html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`;
  const at = (time: string | null) => (time === null ? '–' : formatTime(Date.parse(time)));
  return {
    operation: html`<section class="card">
        <div class="scroll"><table><tbody>
          ${fact('State', html`${stateChip(state)} ${cancelForm(operation)}`)}
          ${fact('Progress', progressText(operation))}
          ${fact('Tenants', tenantLinks(operation))}
          ${detail === '' ? NOTHING : fact('About', detail)}
          ${fact('Who', who)}
          ${fact('Added (UTC)', at(createdAt))}
          ${fact('Began (UTC)', at(startedAt))}
          ${isEnded(state) ? fact('Ended (UTC)', at(endedAt)) : NOTHING}
          ${cancelledBy === null ? NOTHING : fact('Stopped by', cancelledBy)}
          ${error === null ? NOTHING : fact('Error', html`<code>${error.code}</code> ${error.message}`)}
        </tbody></table></div>
      </section>
      ${log.length === 0 ? NOTHING : html`<section class="card"><h2>Its newest lines</h2><pre>${log.join('\n')}</pre></section>`}
      ${result === null ? NOTHING : html`<section class="card"><h2>Result</h2><pre>${JSON.stringify(result, null, 2)}</pre></section>`}`,
  };
}
