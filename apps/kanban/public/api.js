/** An answer that is not a success, with the server's sentence. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Calls the JSON API of one tenant. */
export class Api {
  #base;
  /** The last overview and its ETag, so that an unchanged one need not be sent again. */
  #etag = null;
  memberId = null;

  constructor(tenant) {
    this.#base = `/t/${encodeURIComponent(tenant)}/api`;
  }

  /** @returns the answer's JSON, or null where there is none */
  async call(method, path, body) {
    const response = await this.#fetch(method, path, body);
    return response.status === 204 ? null : response.json();
  }

  /** @returns the overview, or null where nothing changed since the last one */
  async overview(boardId) {
    const query = boardId ? `?board=${encodeURIComponent(boardId)}` : '';
    const response = await this.#fetch('GET', `/overview${query}`, undefined, this.#etag);
    if (response.status === 304) return null;
    this.#etag = response.headers.get('etag');
    return response.json();
  }

  async #fetch(method, path, body, etag = null) {
    const headers = { accept: 'application/json' };
    if (method !== 'GET') headers['content-type'] = 'application/json';
    if (this.memberId) headers['x-kanban-member'] = this.memberId;
    if (etag) headers['if-none-match'] = etag;
    let response;
    try {
      response = await fetch(this.#base + path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
        signal: AbortSignal.timeout(40_000),
      });
    } catch (cause) {
      throw new ApiError(0, 'OFFLINE', 'The server does not answer; trying again.', { cause });
    }
    if (response.ok || response.status === 304) return response;
    const problem = await response.json().catch(() => ({}));
    throw new ApiError(response.status, problem.code ?? 'UNKNOWN', problem.error ?? response.statusText);
  }
}
