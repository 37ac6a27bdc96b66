/** What somebody may do on a target, one channel at a time. */
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

/** What a grant allows that does not say. */
export const kindsByDefault: readonly ChannelKind[] = ['shell', 'exec', 'sftp', 'jump']

/** Whether a text from outside names one. */
export function isChannelKind(text: string): text is ChannelKind {
  return channelKinds.some((kind) => kind === text)
}
