/** Something that a user may do on a target, one channel at a time. */
export type ChannelKind =
  | 'shell'
  | 'exec'
  | 'sftp'
  | 'forward'
  | 'remote-forward'
  | 'agent'
  | 'x11'
  | 'jump'

export const channelKinds: readonly ChannelKind[] = [
  'shell',
  'exec',
  'sftp',
  'forward',
  'remote-forward',
  'agent',
  'x11',
  'jump',
]

/** The kinds that a grant allows when it names none. */
export const kindsByDefault: readonly ChannelKind[] = ['shell', 'exec', 'sftp', 'jump']

/** Whether a text from outside names a kind. */
export function isChannelKind(text: string): text is ChannelKind {
  return channelKinds.some((kind) => kind === text)
}
