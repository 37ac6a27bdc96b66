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
  trouble: {
    failed: 'That was not done.',
    cancelled: 'Not done: you did not confirm.',
  },
  typedName: {
    label: (name: string) => `Type ${name} to confirm`,
    mismatch: (name: string) => `Type the name as it is: ${name}.`,
  },
  stepUp: {
    title: 'Confirm that it is you',
    about: 'You are about to',
    confirmAct: 'Confirm with your passkey',
    help: 'Good for 5 minutes, in this browser, for acts of this kind.',
    failed: 'Your passkey confirmed nothing.',
    givenUp: 'No passkey answered. Try again: your browser asks for your finger, face, PIN or key.',
  },
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
