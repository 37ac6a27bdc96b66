import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { readConnectionUrl } from './connection-url.ts'
import { CodedError } from './errors.ts'
import { Secret } from './secret.ts'
import { describeUnknown, findUnknownSettings, type UnknownSetting } from './setting-names.ts'

/** The address of a listener. Port 0 picks a free one. */
export interface Listen {
  readonly host: string
  readonly port: number
}

/** A login for each database role. In a hardened installation each has a URL of its own. */
export interface DatabaseUrls {
  /** Owns the tables and runs the migrations; no server uses it. */
  readonly owner: Secret<string>
  /** Serves: portal, admin plane, vault. */
  readonly app: Secret<string>
  /** Serves the bastion face: can read no secret table. */
  readonly bastion: Secret<string>
  /** Takes jobs from the queue and gives them back: it can read no other table. */
  readonly jobs: Secret<string>
}

/** The datastores that `serve` requires, and that `up` makes if the settings do not name them. */
export interface Datastores {
  readonly database: DatabaseUrls
  readonly redisUrl: Secret<string> | undefined
  /** `file:PATH` so far. */
  readonly kek: string
  /** `dir:PATH` so far. */
  readonly recordings: string
}

export interface Config {
  readonly home: string
  readonly ssh: Listen
  readonly portal: Listen
  readonly admin: Listen
  /** The URL that people type into a browser; undefined means the portal's own address. */
  readonly publicUrl: string | undefined
  /** Where people's ssh connects to, if that is not the SSH listener. */
  readonly publicSsh: Listen | undefined
  readonly logLevel: string
  /** `off`: SSH in JavaScript also where ssh2's native ciphers are built. ssh2 itself reads it, too. */
  readonly nativeCiphers: 'auto' | 'off'
  /** Source addresses of our connections, as targets see them. Certificates are valid from there only. */
  readonly egress: string | undefined
  /** How long live sessions may go on after SIGTERM. */
  readonly drainMs: number
  /** How long a process may go without renewing its lease before another one takes its place. */
  readonly nodeLeaseMs: number
  /** How much output of a command without a terminal is recorded from its beginning on. */
  readonly recordedOutputBytes: number
  readonly limits: BastionLimits
  readonly pages: PageLimits
  readonly workers: WorkerLimits
  /** Settings without a default: `up` fills those that are not set. */
  readonly given: {
    readonly databaseUrl: string | undefined
    readonly ownerDatabaseUrl: string | undefined
    readonly bastionDatabaseUrl: string | undefined
    readonly jobsDatabaseUrl: string | undefined
    readonly redisUrl: string | undefined
    readonly kek: string | undefined
    readonly recordings: string | undefined
  }
}

/** Limits of the SSH listener. Each has a safe default, and each can be set. */
export interface BastionLimits {
  readonly loginGraceMs: number
  /** Connections that have not logged in yet, in all. */
  readonly unauthenticatedMax: number
  /** The same from one source address. */
  readonly unauthenticatedPerSourceMax: number
  /** New connections a second from one source address. */
  readonly startsPerSecondMax: number
  readonly authTriesMax: number
  readonly channelsPerConnectionMax: number
  /** Forwards that are open or being opened. */
  readonly forwardsPerConnectionMax: number
  /** Addresses at which targets listen for the client. */
  readonly listenersPerConnectionMax: number
  readonly connectionsPerUserMax: number
  /** Over all connections of a user, including sessions that are being started. */
  readonly sessionsPerUserMax: number
  /** When a silent client counts as gone. */
  readonly keepalive: KeepaliveLimits
  /** The same for targets. */
  readonly targetKeepalive: KeepaliveLimits
  readonly penalties: PenaltyLimits
}

/** Limits of the listeners of pages. */
export interface PageLimits {
  /** New connections a second from one source address; those without penalties have no such limit. */
  readonly startsPerSecondMax: number
}

/** Any packet is a sign of life. */
export interface KeepaliveLimits {
  /** How often a silent peer is asked for one. 0 for never. */
  readonly intervalMs: number
  /** Silent intervals after which the connection ends. 0 for never. */
  readonly countMax: number
}

/** The penalties of an address for connections that do not log in. */
export interface PenaltyLimits {
  /** For a connection that tried no login. */
  readonly silentMs: number
  /** For a connection whose logins were all refused. */
  readonly refusedMs: number
  /** For a connection whose time to log in ran out. */
  readonly lateMs: number
  /** For one that broke the protocol. */
  readonly invalidMs: number
  /** From this sum on, connections from the address are refused. */
  readonly minMs: number
  /** The largest sum. */
  readonly maxMs: number
  /** Addresses and CIDR blocks without penalties. Undefined when not set: `up` fills it. */
  readonly exempt: readonly string[] | undefined
}

/** The number of processes that parse the bytes of strangers, and their size limits. */
export interface WorkerLimits {
  readonly workers: number
  /** A worker above it gets no new connections, and another takes its place. */
  readonly softBytes: number
  /** A worker above it is killed. */
  readonly hardBytes: number
}

export class ConfigInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CONFIG_INVALID'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(
      `${problems.length === 1 ? 'a setting is' : `${problems.length} settings are`} missing or wrong:\n` +
        problems.map((problem) => `  ${problem}`).join('\n'),
    )
    this.problems = problems
  }
}

const address = (example: string) =>
  z.string().transform((text, context): Listen => {
    const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
    const port = Number(parts?.[3])
    if (parts === null || port > 65535) {
      context.addIssue(`is not HOST:PORT (for example ${example}): ${JSON.stringify(text)}`)
      return z.NEVER
    }
    return { host: parts[1] ?? parts[2] ?? '', port }
  })
const listen = (fallback: string) => z.string().default(fallback).pipe(address(fallback))
/** It is shown in lines for a shell. */
const publicAddress = address('bastion.example.com:22').refine(
  ({ host, port }) => /^[\w.:-]+$/.test(host) && port > 0,
  'is not a host name or address with a port',
)

const count = (fallback: number, max: number, min = 1) =>
  z
    .string()
    .refine(
      (text) => /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max,
      `must be a whole number from ${min} to ${max}`,
    )
    .transform(Number)
    .default(fallback)

const seconds = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number of seconds, with at most nine digits')
    .transform((text) => Number(text) * 1000)
    .default(fallback * 1000)

const countOrNone = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,6}$/, 'must be a whole number from 0 to 999999')
    .transform(Number)
    .default(fallback)
/** A lease is renewed nine times while it lasts: no shorter one survives a slow moment of the database. */
const leaseSecondsMin = 5

const addressBlocks = z.string().transform((text, context) => {
  const blocks = text === 'none' ? [] : text.split(',').map((block) => block.trim())
  const wrong = blocks.find((block) => !isAddressBlock(block))
  if (wrong === undefined) return blocks
  context.addIssue(
    `is not "none" or a list of addresses and CIDR blocks (192.0.2.0/24,2001:db8::/32): ${JSON.stringify(wrong)}`,
  )
  return z.NEVER
})

function isAddressBlock(text: string): boolean {
  const [, address = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const family = address.includes('%') ? 0 : isIP(address)
  return family !== 0 && Number(prefix ?? 0) <= (family === 4 ? 32 : 128)
}

/** Checked here, where a problem is told without the value: it holds a password. */
const connectionUrl = (scheme: RegExp, example: string) =>
  z
    .string()
    .regex(scheme, `is not a ${example} URL`)
    .refine(
      (text) => readConnectionUrl(text) !== undefined,
      'is not a URL that can be read: in its password, write / as %2F, # as %23, ? as %3F, @ as %40 and % as %25',
    )
const postgresUrl = connectionUrl(/^postgres(ql)?:\/\//, 'postgres://')

const environment = z.object({
  VAULTTERM_HOME: z.string().min(1, 'is empty').default('./.vaultterm'),
  VAULTTERM_SSH_LISTEN: listen('127.0.0.1:2222'),
  VAULTTERM_PORTAL_LISTEN: listen('127.0.0.1:4000'),
  VAULTTERM_ADMIN_LISTEN: listen('127.0.0.1:4100'),
  VAULTTERM_PUBLIC_URL: z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }).optional(),
  VAULTTERM_PUBLIC_SSH: publicAddress.optional(),
  DATABASE_URL: postgresUrl.optional(),
  VAULTTERM_OWNER_DATABASE_URL: postgresUrl.optional(),
  VAULTTERM_BASTION_DATABASE_URL: postgresUrl.optional(),
  VAULTTERM_JOBS_DATABASE_URL: postgresUrl.optional(),
  REDIS_URL: connectionUrl(/^(rediss?|unix):\/\//, 'redis://').optional(),
  VAULTTERM_KEK: z
    .string()
    .regex(/^file:.+/, 'must be file:PATH')
    .optional(),
  VAULTTERM_RECORDINGS: z
    .string()
    .regex(/^dir:.+/, 'must be dir:PATH')
    .optional(),
  VAULTTERM_LOG: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'must be one of trace, debug, info, warn, error, fatal, silent',
    })
    .default('info'),
  VAULTTERM_NATIVE_CIPHERS: z
    .enum(['auto', 'off'], { error: 'must be auto or off' })
    .default('auto'),
  VAULTTERM_EGRESS: z
    .string()
    .regex(/^[0-9a-fA-F:./]+(,[0-9a-fA-F:./]+)*$/, 'is not a list of addresses and CIDR blocks')
    .optional(),
  VAULTTERM_WORKERS: count(Math.max(2, availableParallelism()), 64),
  VAULTTERM_WORKER_MEMORY_MIB: count(1024, 1_000_000),
  VAULTTERM_DRAIN_SECONDS: count(30, 86_400),
  VAULTTERM_NODE_LEASE_SECONDS: count(45, 3600, leaseSecondsMin),
  VAULTTERM_RECORDED_OUTPUT_MIB: count(8, 1024),
  VAULTTERM_LOGIN_GRACE_SECONDS: count(60, 3600),
  VAULTTERM_UNAUTHENTICATED_MAX: count(400, 100_000),
  VAULTTERM_UNAUTHENTICATED_PER_SOURCE_MAX: count(64, 100_000),
  VAULTTERM_STARTS_PER_SECOND_MAX: count(200, 100_000),
  VAULTTERM_PAGE_STARTS_PER_SECOND_MAX: count(200, 100_000),
  VAULTTERM_AUTH_TRIES_MAX: count(6, 100),
  VAULTTERM_CHANNELS_PER_CONNECTION_MAX: count(64, 1000),
  VAULTTERM_FORWARDS_PER_CONNECTION_MAX: count(512, 10_000),
  VAULTTERM_LISTENERS_PER_CONNECTION_MAX: count(64, 1000),
  VAULTTERM_CONNECTIONS_PER_USER_MAX: count(2000, 1_000_000),
  VAULTTERM_SESSIONS_PER_USER_MAX: count(2000, 1_000_000),
  VAULTTERM_KEEPALIVE_SECONDS: countOrNone(60),
  VAULTTERM_KEEPALIVE_COUNT: countOrNone(15),
  VAULTTERM_TARGET_KEEPALIVE_SECONDS: countOrNone(60),
  VAULTTERM_TARGET_KEEPALIVE_COUNT: countOrNone(15),
  VAULTTERM_PENALTY_SILENT_SECONDS: seconds(1),
  VAULTTERM_PENALTY_REFUSED_SECONDS: seconds(5),
  VAULTTERM_PENALTY_LATE_SECONDS: seconds(10),
  VAULTTERM_PENALTY_INVALID_SECONDS: seconds(10),
  VAULTTERM_PENALTY_MIN_SECONDS: seconds(15),
  VAULTTERM_PENALTY_MAX_SECONDS: seconds(600),
  VAULTTERM_PENALTY_EXEMPT: addressBlocks.optional(),
})

/** The variables of an environment that look like settings and are none. They have no effect. */
export function unknownSettings(env: NodeJS.ProcessEnv): readonly UnknownSetting[] {
  return findUnknownSettings(env, Object.keys(environment.shape))
}

/**
 * Reads the settings of an environment. Throws ConfigInvalid, which names every wrong one; with `strict` also
 * those that are no settings.
 */
export function parseConfig(env: NodeJS.ProcessEnv, { strict = false } = {}): Config {
  // Shells and compose files unset a setting by giving it the empty string.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = environment.safeParse(given)
  const problems = [
    ...(parsed.error?.issues ?? []).map((issue) => `${issue.path.join('.')} ${issue.message}`),
    ...(strict ? unknownSettings(env).map(describeUnknown) : []),
  ]
  if (!parsed.success || problems.length > 0) throw new ConfigInvalid(problems)
  const values = parsed.data
  return Object.freeze({
    home: resolve(values.VAULTTERM_HOME),
    ssh: values.VAULTTERM_SSH_LISTEN,
    portal: values.VAULTTERM_PORTAL_LISTEN,
    admin: values.VAULTTERM_ADMIN_LISTEN,
    publicUrl: values.VAULTTERM_PUBLIC_URL?.replace(/\/+$/, ''),
    publicSsh: values.VAULTTERM_PUBLIC_SSH,
    logLevel: values.VAULTTERM_LOG,
    nativeCiphers: values.VAULTTERM_NATIVE_CIPHERS,
    egress: values.VAULTTERM_EGRESS,
    drainMs: values.VAULTTERM_DRAIN_SECONDS * 1000,
    nodeLeaseMs: values.VAULTTERM_NODE_LEASE_SECONDS * 1000,
    recordedOutputBytes: values.VAULTTERM_RECORDED_OUTPUT_MIB * 1024 ** 2,
    limits: {
      loginGraceMs: values.VAULTTERM_LOGIN_GRACE_SECONDS * 1000,
      unauthenticatedMax: values.VAULTTERM_UNAUTHENTICATED_MAX,
      unauthenticatedPerSourceMax: values.VAULTTERM_UNAUTHENTICATED_PER_SOURCE_MAX,
      startsPerSecondMax: values.VAULTTERM_STARTS_PER_SECOND_MAX,
      authTriesMax: values.VAULTTERM_AUTH_TRIES_MAX,
      channelsPerConnectionMax: values.VAULTTERM_CHANNELS_PER_CONNECTION_MAX,
      forwardsPerConnectionMax: values.VAULTTERM_FORWARDS_PER_CONNECTION_MAX,
      listenersPerConnectionMax: values.VAULTTERM_LISTENERS_PER_CONNECTION_MAX,
      connectionsPerUserMax: values.VAULTTERM_CONNECTIONS_PER_USER_MAX,
      sessionsPerUserMax: values.VAULTTERM_SESSIONS_PER_USER_MAX,
      keepalive: {
        intervalMs: values.VAULTTERM_KEEPALIVE_SECONDS * 1000,
        countMax: values.VAULTTERM_KEEPALIVE_COUNT,
      },
      targetKeepalive: {
        intervalMs: values.VAULTTERM_TARGET_KEEPALIVE_SECONDS * 1000,
        countMax: values.VAULTTERM_TARGET_KEEPALIVE_COUNT,
      },
      penalties: {
        silentMs: values.VAULTTERM_PENALTY_SILENT_SECONDS,
        refusedMs: values.VAULTTERM_PENALTY_REFUSED_SECONDS,
        lateMs: values.VAULTTERM_PENALTY_LATE_SECONDS,
        invalidMs: values.VAULTTERM_PENALTY_INVALID_SECONDS,
        minMs: values.VAULTTERM_PENALTY_MIN_SECONDS,
        maxMs: values.VAULTTERM_PENALTY_MAX_SECONDS,
        exempt: values.VAULTTERM_PENALTY_EXEMPT,
      },
    },
    pages: { startsPerSecondMax: values.VAULTTERM_PAGE_STARTS_PER_SECOND_MAX },
    workers: {
      workers: values.VAULTTERM_WORKERS,
      softBytes: values.VAULTTERM_WORKER_MEMORY_MIB * 1024 ** 2,
      hardBytes: values.VAULTTERM_WORKER_MEMORY_MIB * 1024 ** 2 * 1.5,
    },
    given: {
      databaseUrl: values.DATABASE_URL,
      ownerDatabaseUrl: values.VAULTTERM_OWNER_DATABASE_URL,
      bastionDatabaseUrl: values.VAULTTERM_BASTION_DATABASE_URL,
      jobsDatabaseUrl: values.VAULTTERM_JOBS_DATABASE_URL,
      redisUrl: values.REDIS_URL,
      kek: values.VAULTTERM_KEK,
      recordings: values.VAULTTERM_RECORDINGS,
    },
  })
}

/** The datastores of production. Throws ConfigInvalid, which names all that are missing. */
export function requireDatastores({ given }: Config): Datastores {
  const missing = [
    given.databaseUrl === undefined &&
      'DATABASE_URL is missing: the Postgres server, as postgres://…',
    given.redisUrl === undefined && 'REDIS_URL is missing: the Redis server, as redis://…',
    given.kek === undefined && 'VAULTTERM_KEK is missing: the key-encryption key, as file:PATH',
    given.recordings === undefined &&
      'VAULTTERM_RECORDINGS is missing: where recordings go, as dir:PATH',
  ].filter((problem) => problem !== false)
  const { databaseUrl, kek, recordings } = given
  if (databaseUrl === undefined || kek === undefined || recordings === undefined || missing.length)
    throw new ConfigInvalid(missing)
  return {
    database: databaseUrls(given, databaseUrl),
    redisUrl: given.redisUrl === undefined ? undefined : new Secret(given.redisUrl),
    kek,
    recordings,
  }
}

/** One login can serve for all four roles, which it takes on by `set role`. */
export function databaseUrls(given: Config['given'], databaseUrl: string): DatabaseUrls {
  return {
    owner: new Secret(given.ownerDatabaseUrl ?? databaseUrl),
    app: new Secret(databaseUrl),
    bastion: new Secret(given.bastionDatabaseUrl ?? databaseUrl),
    jobs: new Secret(given.jobsDatabaseUrl ?? databaseUrl),
  }
}
