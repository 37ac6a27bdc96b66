import { createServer, type Server } from 'node:net'
import { formatAddress } from './address.ts'
import type { Config, Listen } from './config.ts'
import { CodedError, errorCode } from './errors.ts'

/** The listeners of a server, in the order in which it opens them. */
const faces = ['portal', 'admin', 'ssh'] as const
export type Face = (typeof faces)[number]

/** The setting with the address of each listener. */
const settings = {
  portal: 'VAULTTERM_PORTAL_LISTEN',
  admin: 'VAULTTERM_ADMIN_LISTEN',
  ssh: 'VAULTTERM_SSH_LISTEN',
} as const satisfies Record<Face, string>

/** Below it, only root may listen, unless the system is told otherwise. */
const freePortMin = 1024

/** A listener cannot be opened at its address. */
export class ListenFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_LISTEN'
  readonly problem: string
  readonly remedy: string

  constructor(problem: string, remedy: string, cause?: unknown) {
    super(`${problem}: ${remedy}`, { cause })
    this.problem = problem
    this.remedy = remedy
  }
}

/** The meaning of a listener's error. An error without a system's code is returned as it is. */
export function explainListen(err: unknown, face: Face, listen: Listen): unknown {
  const code = errorCode(err)
  if (code === undefined) return err
  const setting = settings[face]
  const address = formatAddress(listen)
  const elsewhere = `set ${setting} to another address (port 0 picks a free one)`
  switch (code) {
    case 'EADDRINUSE':
      return new ListenFailed(
        `another program listens on ${address}`,
        `stop it, or ${elsewhere}`,
        err,
      )
    case 'EADDRNOTAVAIL':
      return new ListenFailed(
        `${address} is no address of this host`,
        `set ${setting} to an address that this host has`,
        err,
      )
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new ListenFailed(
        `the host name in ${address} does not resolve`,
        `set ${setting} to an address that this host has`,
        err,
      )
    case 'EACCES':
      if (listen.port >= freePortMin) break
      return new ListenFailed(
        `VaultTerm may not listen on ${address}`,
        `ports below ${freePortMin} need root, or the capability CAP_NET_BIND_SERVICE; give it that, or ${elsewhere}`,
        err,
      )
  }
  return new ListenFailed(`VaultTerm cannot listen on ${address} (${code})`, elsewhere, err)
}

/** The result of a trial of one listener. */
export interface Trial {
  readonly face: Face
  readonly listen: Listen
  /** Undefined when its address is free. */
  readonly problem: unknown
}

/**
 * Opens all listeners for a moment, so that a wrong address is found before anything else starts. The
 * address can still be taken in the meantime.
 */
export async function tryListeners(config: Pick<Config, Face>): Promise<readonly Trial[]> {
  const held: Server[] = []
  const trials: Trial[] = []
  try {
    for (const face of faces) {
      const listen = config[face]
      const problem = await hold(listen, held).then(
        () => undefined,
        (err: unknown) => clashOf(err, face, trials, listen) ?? explainListen(err, face, listen),
      )
      trials.push({ face, listen, problem })
    }
    return trials
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))))
  }
}

/** Throws ListenFailed for the first listener that cannot be opened. */
export async function assertListenersFree(config: Pick<Config, Face>): Promise<void> {
  const wrong = (await tryListeners(config)).find(({ problem }) => problem !== undefined)
  if (wrong !== undefined) throw wrong.problem
}

function hold({ host, port }: Listen, held: Server[]): Promise<void> {
  return new Promise((resolve, reject) => {
    // A client that connects now is turned away: its connection would keep the server open.
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen({ host, port }, () => {
      held.push(server)
      resolve()
    })
  })
}

/** The port is taken by another listener of ours: no other program needs to stop. */
function clashOf(
  err: unknown,
  face: Face,
  before: readonly Trial[],
  { host, port }: Listen,
): ListenFailed | undefined {
  if (errorCode(err) !== 'EADDRINUSE') return undefined
  const other = before.find(
    ({ listen, problem }) => problem === undefined && listen.port === port && port !== 0,
  )
  if (other === undefined) return undefined
  return new ListenFailed(
    `${settings[face]} is ${formatAddress({ host, port })}, and ${settings[other.face]} has the same port`,
    `set one of them to another address (port 0 picks a free one)`,
    err,
  )
}
