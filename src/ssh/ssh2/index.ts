/**
 * Connections of both roles, on the transport of the ssh2 package and with our own layer of
 * channels. No other module imports ssh2. Our changes to it are in patches/, one concern a file.
 */

export type { Channel } from './channel.ts'
export type { ChannelHandlers, ChannelRequest } from './channel-handlers.ts'
export type { ChannelOpen } from './channel-table.ts'
export { connectUpstream, type SigningKey, type UpstreamOptions } from './client.ts'
export type { Connection, Keepalive } from './connection.ts'
export { ChannelOpenRefused, ConnectionClosed, LibraryUnpatched } from './errors.ts'
export type { GlobalRequest } from './global-requests.ts'
export { generateHostKey, type ServerHostKey } from './host-key.ts'
export type { RekeyLimits } from './key-exchanges.ts'
export { assertPatched, usesNativeCiphers } from './library.ts'
export { disconnectReason, openFailure } from './messages.ts'
export { receiveWindowBytes } from './receive-window.ts'
export { scanHostKeys } from './scan.ts'
export {
  type AuthAttempt,
  createSshServer,
  type Departure,
  type ServerHandlers,
  type SshServer,
  type SshServerOptions,
} from './server.ts'
export { adoptSocket, openSocket, readFor, socketBytes } from './sockets.ts'
