import type { Log } from '../../../log.ts'
import type { Connection } from '../../../ssh/index.ts'
import type { ConnectionId } from '../../wire/calls.ts'
import type { ServiceDeps } from '../deps.ts'
import type { UpstreamNeed } from '../upstream.ts'
import type { ForwardChannel } from './forward-channel.ts'

/** The parts of a client's connection that its forwards use. */
export interface ForwardContext {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly clientIdent: string
  readonly log: Log
  /** Forwards that are open or being opened, by the id that the main process gave them. */
  readonly channels: Map<string, ForwardChannel>
  upstream(need: UpstreamNeed): Promise<Connection>
  /** Why a session or a forward must end, where the notice came before the id was known here. */
  killed(id: string): string | undefined
}
