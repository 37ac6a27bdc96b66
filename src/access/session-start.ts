import type { ChannelKind } from './channel-kind.ts'

/** What a session begins with. Text and bytes are as the client sent them. */
export interface SessionStart {
  readonly kind: ChannelKind
  /** How it came, when not straight: by `ssh -J`. */
  readonly via?: 'jump'
  readonly command?: Buffer
  readonly source: string
  readonly clientIdent: string
  readonly node: string
  readonly recording: boolean
}
