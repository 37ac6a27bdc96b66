/** Builds the pages into web/dist/. Whether it was done; a failure is told on stderr. */
export function buildPages(pages: {
  readonly root: string
  /** The directory of the set-up's own files. */
  readonly state: string
  readonly node: { readonly path: string }
}): Promise<boolean>
