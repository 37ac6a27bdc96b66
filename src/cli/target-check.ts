import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { isHostKeyOf, type Target } from '../access/index.ts'
import { formatAddress } from '../address.ts'
import { CodedError, type ErrorCode } from '../errors.ts'
import { connectUpstream, dialProblem, fingerprint, hostKeyOffer } from '../ssh/index.ts'
import type { Tenant } from '../tenant/index.ts'
import type { CliProduct } from './deps.ts'
import { TargetCheckFailed } from './errors.ts'

/** The result of a test connection to a target. */
export interface TargetReport {
  readonly ok: boolean
  /** The last step that succeeded. */
  readonly reached: 'nothing' | 'address' | 'host-key' | 'login'
  readonly code: ErrorCode | null
  readonly message: string
}

/** The results of several logins. Its own fields are those of the first login that failed, or of the first one. */
export interface LoginsReport extends TargetReport {
  /** In the target's order, except for those that were not tried because the target cannot be reached. */
  readonly logins: readonly (TargetReport & { readonly login: string })[]
  /** The logins that were not tried, because an earlier one did not get as far as the login. */
  readonly untried: readonly string[]
}

const connectMs = 10_000
const handshakeMs = 20_000

/** Tries one login after the other, until the target cannot be reached or shows another host key. */
export async function checkLogins(
  product: CliProduct,
  tenant: Tenant,
  target: Target,
  logins: readonly string[],
): Promise<LoginsReport> {
  const reports: LoginsReport['logins'][number][] = []
  for (const login of logins) {
    const report = await checkTarget(product, tenant, target, login)
    reports.push({ login, ...report })
    // The next login would fail alike, and takes as long.
    if (!report.ok && (report.reached === 'nothing' || report.reached === 'address')) break
  }
  const shown = reports.find(({ ok }) => !ok) ?? reports[0]
  if (shown === undefined) throw new Error('a target without a login')
  const { login: _, ...summary } = shown
  return { ...summary, logins: reports, untried: logins.slice(reports.length) }
}

/** The error of a check that failed, with its reasons and the code of the first. */
export function failedCheck(name: string, { code, logins, untried }: LoginsReport): CodedError {
  const reasons = logins.filter(({ ok }) => !ok).map(({ message }) => message)
  const rest = untried.length === 0 ? '' : ` (not tried: ${untried.join(', ')})`
  return new TargetCheckFailed(code, `${name}: ${reasons.join('; ')}${rest}`)
}

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
