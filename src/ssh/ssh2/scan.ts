import { connect } from 'node:net'
import ssh2 from 'ssh2'
import { formatAddress } from '../../address.ts'
import { dialProblem } from '../dial-problem.ts'
import { hostKeyTypeNames } from '../host-key-offer.ts'
import { type PublicKey, parsePublicKeyBlob } from '../public-key.ts'
import { clientAlgorithms } from './algorithms.ts'
import { NoHostKeys } from './errors.ts'
import { assertPatched } from './library.ts'

/** Bytes of the answer that are searched for the identification of an SSH server. */
const headBytesMax = 8192

/**
 * Asks a server for its host keys: one connection for each type of key, all at once. Throws
 * NoHostKeys, with the cause, when it shows none. The answer is not proved: compare the fingerprints
 * by another way.
 */
export async function scanHostKeys(
  host: string,
  port: number,
  timeoutMs: number,
): Promise<readonly PublicKey[]> {
  assertPatched()
  const scans = await Promise.all(
    hostKeyTypeNames.map((type) => scan({ host, port, type, timeoutMs })),
  )
  const keys = scans.flatMap((one) => ('key' in one ? [one.key] : []))
  if (keys.length > 0) return keys
  const failures = scans.flatMap((one) => ('problem' in one ? [one] : []))
  // Servers refuse surplus connections: the one that came furthest tells most.
  const [best] = failures.toSorted((a, b) => steps.indexOf(b.reached) - steps.indexOf(a.reached))
  throw explain(best, formatAddress({ host, port }), timeoutMs)
}

/** How far a connection came: it was made, bytes came, and then the identification of an SSH server. */
const steps = ['nothing', 'address', 'bytes', 'ssh'] as const

interface Failure {
  readonly reached: (typeof steps)[number]
  readonly problem: 'late' | 'closed' | 'type' | 'malformed'
  readonly cause: unknown
}

function explain(failure: Failure | undefined, address: string, timeoutMs: number): NoHostKeys {
  const { reached = 'nothing', problem = 'closed', cause } = failure ?? {}
  const late = `no answer in ${timeoutMs / 1000} s`
  const silent = `no SSH server answers at ${address}`
  switch (reached) {
    case 'nothing': {
      const why = problem === 'late' ? late : dialProblem(cause)
      return new NoHostKeys(
        'ERR_TARGET_UNREACHABLE',
        `nothing answers at ${address} (${why}); check the address, and that the SSH server of the host is up`,
        cause,
      )
    }
    case 'address':
      return problem === 'late'
        ? new NoHostKeys('ERR_UPSTREAM_TIMEOUT', `${silent} (${late}); check the port`, cause)
        : new NoHostKeys(
            'ERR_UPSTREAM_CLOSED',
            `${silent} (the connection was closed at once); check the port, and the log of the server there`,
            cause,
          )
    case 'bytes':
      return new NoHostKeys(
        'ERR_UPSTREAM_PROTOCOL',
        `${silent} (the answer is not SSH); check the port`,
        cause,
      )
    case 'ssh':
      return new NoHostKeys(
        problem === 'late' ? 'ERR_UPSTREAM_TIMEOUT' : 'ERR_UPSTREAM_PROTOCOL',
        `the SSH server at ${address} shows no host key (${
          {
            late,
            closed: 'it closed the connection',
            type: 'both sides have no algorithm or type of host key in common',
            malformed: 'its host key is malformed',
          }[problem]
        }); its own log says more`,
        cause,
      )
  }
}

function scan({
  host,
  port,
  type,
  timeoutMs,
}: {
  readonly host: string
  readonly port: number
  readonly type: string
  readonly timeoutMs: number
}): Promise<{ readonly key: PublicKey } | Failure> {
  const { promise, resolve } = Promise.withResolvers<{ readonly key: PublicKey } | Failure>()
  const socket = connect({ host, port, noDelay: true })
  const client = new ssh2.Client()
  let reached: Failure['reached'] = 'nothing'
  let head = ''
  // The first reason counts.
  const fail = (problem: Failure['problem'], cause?: unknown) => {
    resolve({ reached, problem, cause })
    socket.destroy()
  }
  const timer = setTimeout(() => fail('late'), timeoutMs)
  // Both before and after ssh2 listens.
  socket.on('error', (err) => fail('closed', err))
  socket.once('close', () => {
    clearTimeout(timer)
    fail('closed')
  })
  client.on('error', (err) => fail(err.level === 'handshake' ? 'type' : 'closed', err))
  socket.once('connect', () => {
    reached = 'address'
    socket.on('data', (chunk: Buffer) => {
      if (head.length >= headBytesMax) return
      head = (head + chunk.toString('latin1')).slice(0, headBytesMax)
      // RFC 4253 section 4.2: other lines may come before it.
      reached = /^SSH-/m.test(head) ? 'ssh' : 'bytes'
    })
    client.connect({
      sock: socket,
      username: 'nobody',
      ident: 'VaultTerm',
      algorithms: clientAlgorithms([type]),
      readyTimeout: 0,
      keepaliveInterval: 0,
      // Only its host key is wanted, so the answer is always no.
      hostVerifier: (blob) => {
        const parsed = parsePublicKeyBlob(Buffer.from(blob))
        if ('key' in parsed) resolve({ key: parsed.key })
        else fail('malformed', new Error(parsed.problem))
        socket.destroy()
      },
      authHandler: (_methodsLeft, _partialSuccess, next) => next(false),
    })
  })
  return promise
}
