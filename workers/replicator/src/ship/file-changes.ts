/** Where in the history of each tenant its file was last deleted or replaced. */
export class FileChanges {
  readonly #last = new Map<string, { readonly change: number; readonly pos: number }>();

  /** @param pos of the last commit of the former file, and of the mark that ends it */
  note(tenant: string, change: number | undefined, pos: number): void {
    if (change !== undefined) this.#last.set(tenant, { change, pos });
  }

  /**
   * The last change, where what is stored comes after it.
   * @param isEnd it is the mark of a deletion
   */
  before(tenant: string, pos: number, isEnd: boolean): number | undefined {
    const last = this.#last.get(tenant);
    if (last === undefined) return undefined;
    return pos > last.pos || (isEnd && pos === last.pos) ? last.change : undefined;
  }
}
