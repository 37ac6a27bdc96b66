/** The words that more than one page uses. Those of one page stand beside it. */
export const texts = {
  copy: 'Copy',
  copied: 'Copied',
  copyThe: (label: string) => `Copy: ${label}`,
  copyDetails: 'Copy the details',
  again: 'Try again',
  unknown: 'unknown',
  slow: 'Still loading. The server answers slowly.',
  pageFailed: 'a fault of this page: reload it',
  cancel: 'Cancel',
  close: 'Close',
  keysTitle: 'Keys',
  keysSwitch: 'Single keys act',
  keys: {
    search: 'the search field of the page',
    targets: 'Targets',
    sessions: 'Sessions',
    rows: 'next and previous row',
    enter: 'the act of the row',
    help: 'these keys',
  },
}
