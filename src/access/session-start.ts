import type { ChannelKind } from './channel-kind.ts'
import type { SessionVia } from './session-row.ts'

/** The facts at the start of a session. Text and bytes are as the client sent them. */
export interface SessionStart {
  readonly kind: ChannelKind
  readonly via: SessionVia
  readonly command?: Buffer
  readonly source: string
  readonly clientIdent: string
  readonly node: string
  readonly recording: boolean
}
