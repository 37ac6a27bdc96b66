import { formatAddress } from '../address.ts'
import { type Config, requireDatastores } from '../config.ts'
import { showConnectionUrl } from '../connection-url.ts'
import { homePaths } from '../local/index.ts'
import { formatUrl } from './address.ts'

/** The settings for people to read, without the passwords in them. */
export function describeConfig(
  config: Config,
  { serve }: { readonly serve: boolean },
): { readonly [setting: string]: string } {
  if (serve) requireDatastores(config)
  const { given } = config
  const paths = homePaths(config.home)
  return {
    VAULTTERM_HOME: config.home,
    VAULTTERM_SSH_LISTEN: formatAddress(config.ssh),
    VAULTTERM_PORTAL_LISTEN: formatAddress(config.portal),
    VAULTTERM_ADMIN_LISTEN: formatAddress(config.admin),
    VAULTTERM_PUBLIC_URL: config.publicUrl ?? formatUrl(config.portal),
    VAULTTERM_PUBLIC_SSH: formatAddress(config.publicSsh ?? config.ssh),
    DATABASE_URL:
      given.databaseUrl === undefined ? 'embedded' : showConnectionUrl(given.databaseUrl),
    REDIS_URL: given.redisUrl === undefined ? 'local' : showConnectionUrl(given.redisUrl),
    VAULTTERM_KEK: given.kek ?? `file:${paths.kek}`,
    VAULTTERM_RECORDINGS: given.recordings ?? `dir:${paths.recordings}`,
    VAULTTERM_WORKERS: String(config.workers.workers),
    VAULTTERM_WORKER_MEMORY_MIB: String(config.workers.softBytes / 1024 ** 2),
    VAULTTERM_LOG: config.logLevel,
    VAULTTERM_NATIVE_CIPHERS: config.nativeCiphers,
    VAULTTERM_DRAIN_SECONDS: String(config.drainMs / 1000),
    VAULTTERM_NODE_LEASE_SECONDS: String(config.nodeLeaseMs / 1000),
    VAULTTERM_RECORDED_OUTPUT_MIB: String(config.recordedOutputBytes / 1024 ** 2),
  }
}
