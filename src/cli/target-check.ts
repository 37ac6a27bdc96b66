import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { isHostKeyOf, type Target } from '../access/index.ts'
import { formatAddress } from '../address.ts'
import { CodedError } from '../errors.ts'
import { connectUpstream, dialProblem, fingerprint, hostKeyOffer } from '../ssh/index.ts'
import type { Tenant } from '../tenant/index.ts'
import type { CliProduct } from './deps.ts'

/** The result of a test connection to a target. */
export interface TargetReport {
  readonly ok: boolean
  /** The last step that succeeded. */
  readonly reached: 'nothing' | 'address' | 'host-key' | 'login'
  readonly code: string | null
  readonly message: string
}

const connectMs = 10_000
const handshakeMs = 20_000

/** Connects to a target as a session would, logs in, and leaves. The use of the key is on the log. */
export async function checkTarget(
  product: CliProduct,
  tenant: Tenant,
  target: Target,
  login: string,
  authority: 'active' | 'next' = 'active',
): Promise<TargetReport> {
  const { vault, log } = product
  let reached: TargetReport['reached'] = 'nothing'
  let shown = ''
  let unreachable = ''
  try {
    const socket = await open(target).catch((err: Error) => {
      unreachable = dialProblem(err)
      throw err
    })
    reached = 'address'
    const terms = {
      login,
      session: randomUUID(),
      purpose: 'upstream',
      expiresInMs: handshakeMs + connectMs,
    } as const
    const lease =
      target.auth === 'key'
        ? await vault.lease(tenant.id, { ...terms, name: 'admin_ssh' })
        : await product.ca.leaseUpstream(tenant.id, {
            ...terms,
            target: target.id,
            permits: [],
            authority,
          })
    const connection = await connectUpstream({
      socket,
      user: login,
      hostKeyTypes: hostKeyOffer(target),
      verifyHostKey: async (blob) => {
        const known = await isHostKeyOf(product.database, product.ca, tenant, target, blob)
        if (known) reached = 'host-key'
        shown = fingerprint(blob)
        return known
      },
      key: {
        publicKey: lease.publicKey,
        ...(lease.certificate === undefined ? {} : { certificate: lease.certificate }),
        sign: (data, algorithm) => vault.sign(lease.id, data, algorithm),
      },
      handshakeMs,
      log,
    })
    connection.disconnect(11, 'checked')
    return {
      ok: true,
      reached: 'login',
      code: null,
      message: `ok: the bastion can log in as ${login}`,
    }
  } catch (err) {
    const code = err instanceof CodedError ? err.code : 'ERR_TARGET_UNREACHABLE'
    const message = explain({ reached, code, shown, unreachable }, target, tenant.slug, login)
    return { ok: false, reached, code, message }
  }
}

function explain(
  {
    reached,
    code,
    shown,
    unreachable,
  }: Pick<TargetReport, 'reached'> & { code: string; shown: string; unreachable: string },
  { name, host, port, auth, hostKeys }: Target,
  slug: string,
  login: string,
): string {
  if (reached === 'nothing')
    return `nothing answers at ${formatAddress({ host, port })} (${unreachable})`
  if (code === 'ERR_UPSTREAM_HOST_KEY') {
    const known = hostKeys.map(({ blob }) => fingerprint(blob)).join(', ')
    return `its host key ${shown} is not on record (${known}); if the host was reinstalled, compare the key with the one that the host itself prints, then run \`vaultterm target update ${slug} ${name} --scan --replace\``
  }
  if (code === 'ERR_UPSTREAM_AUTH') {
    return `it does not accept the ${auth === 'cert' ? 'certificate' : 'key'} for ${login}: run the lines of \`vaultterm target onboard ${slug} ${name}\` on it`
  }
  return `the login failed after ${reached === 'host-key' ? 'the check of the host key' : 'the target answered'} (${code})`
}

function open({ host, port }: Target): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const socket = connect({ host, port, noDelay: true })
  const timer = setTimeout(
    () => socket.destroy(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })),
    connectMs,
  )
  socket.once('error', reject)
  socket.once('connect', () => {
    clearTimeout(timer)
    resolve(socket)
  })
  return promise
}
