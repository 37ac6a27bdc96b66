import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Access, Grant, NewGrant, Target } from '../access/index.ts'
import type { Actor, Auth } from '../auth/index.ts'
import type { Ca } from '../ca/index.ts'
import type { Log } from '../log.ts'
import type { TenantId } from '../postgres/index.ts'
import { fingerprint, parsePublicKey } from '../ssh/index.ts'
import type { TenantEntry, Tenants } from '../tenant/index.ts'
import { RecordChanged, type Vault, VaultSealed } from '../vault/index.ts'
import { type BastionAddress, keepDemoKey, writeClientFiles } from './demo-client.ts'
import { type DemoTarget, demoHost, startDemoTarget } from './demo-target.ts'
import { keepPrivateDirectory, readIfThere, writePrivateFile } from './private-file.ts'

/** The modules that make the demo. */
export interface BootstrapDeps {
  readonly tenants: Pick<Tenants, 'create' | 'resolve'>
  readonly auth: Pick<Auth, 'addUser' | 'listUsers' | 'addKey' | 'listKeys'>
  readonly access: Pick<
    Access,
    'addTarget' | 'findTarget' | 'removeTarget' | 'addGrant' | 'listGrants'
  >
  readonly vault: Pick<Vault, 'createSshKeys' | 'describe'>
  readonly ca: Pick<Ca, 'authorities'>
  readonly log: Log
}

/** The demo target, as it runs. */
export interface RunningTarget {
  readonly name: string
  /**
   * The user that its shell runs as; undefined when that is the bastion's own user, whose keys the
   * shell can then read.
   */
  readonly shellUser: string | undefined
}

/** A running demo. */
export interface Demo {
  readonly tenant: TenantId
  readonly slug: string
  readonly user: string
  /** Undefined when an operator removed it, or registered another host under its name. */
  readonly target: RunningTarget | undefined
  /** The file for `ssh -F`. */
  readonly sshConfig: string
  /** Writes the bastion's address into the demo's ssh_config. */
  pointTo(bastion: Omit<BastionAddress, 'authorities'>): Promise<void>
  close(): Promise<void>
}

type Tenant = Pick<TenantEntry, 'id'>

const slug = 'acme'
const user = 'demo'
const targetName = 'web1'
const actor: Actor = { kind: 'system', id: 'up', name: 'vaultterm up' }

/**
 * Makes the demo on the first start (tenant, user, key, target, grant), and starts its target.
 *
 * A start that was killed is finished by the next one. After that, things that an operator removed
 * are not made again: the demo has no target when that was removed. undefined when the demo's tenant
 * is gone, when the vault is sealed, or when the demo's rows were changed in the database.
 */
export async function startDemo(directory: string, deps: BootstrapDeps): Promise<Demo | undefined> {
  try {
    return await startCheckedDemo(directory, deps)
  } catch (err) {
    if (!(err instanceof VaultSealed || err instanceof RecordChanged)) throw err
    // The installation starts without its demo: others need it, and a sealed vault is unsealed in it.
    deps.log.warn({ err }, 'the demo does not run')
    return undefined
  }
}

async function startCheckedDemo(directory: string, deps: BootstrapDeps): Promise<Demo | undefined> {
  const { tenants, vault } = deps
  await keepPrivateDirectory(directory)
  const isMade = (await readIfThere(join(directory, 'made'))) !== undefined
  const tenant =
    (await tenants.resolve(slug)) ??
    (isMade ? undefined : await tenants.create({ slug, name: 'Acme' }, actor))
  if (tenant === undefined) return undefined
  // A start was killed while it made them; there is nothing to do when they exist.
  if (!isMade) await vault.createSshKeys(tenant.id)
  const target = (await isOurs(tenant, isMade, deps))
    ? await runTarget(directory, tenant, isMade, deps)
    : undefined
  return {
    tenant: tenant.id,
    slug,
    user,
    target: target && { name: targetName, shellUser: target.separateUser },
    sshConfig: join(directory, 'ssh_config'),
    async pointTo(bastion) {
      const authorities = await hostAuthorities(tenant, deps)
      await writeClientFiles(directory, slug, {
        ...bastion,
        authorities: authorities.map(({ publicKey }) => publicKey),
      })
    },
    close: async () => target?.close(),
  }
}

/** Whether the target of that name is the demo's: a shell that no target leads to must not run. */
async function isOurs(tenant: Tenant, isMade: boolean, { access }: BootstrapDeps) {
  const known = await access.findTarget(tenant.id, targetName)
  return known === undefined ? !isMade : known.host === demoHost
}

/** Starts the demo target, and makes what is missing of the demo. */
async function runTarget(
  directory: string,
  tenant: Tenant,
  isMade: boolean,
  deps: BootstrapDeps,
): Promise<DemoTarget> {
  const madePath = join(directory, 'made')
  const target = await startTarget(directory, tenant, deps)
  try {
    const moved = isMade && (await hasMoved(tenant, target, deps))
    // If it is killed from here on, the next start makes the missing parts.
    if (moved) await rm(madePath)
    if (!isMade) await makeUser(directory, tenant, deps)
    if (!isMade || moved) {
      await makeTarget(tenant, target, deps)
      if (!isMade) await makeGrant(tenant, deps)
      await writePrivateFile(madePath, `${new Date().toISOString()}\n`)
    }
  } catch (err) {
    await target.close()
    throw err
  }
  return target
}

/** None where they cannot be trusted: the client then asks about the host key. */
async function hostAuthorities(tenant: Tenant, { ca, log }: BootstrapDeps) {
  try {
    return await ca.authorities(tenant.id, 'host')
  } catch (err) {
    if (!(err instanceof VaultSealed || err instanceof RecordChanged)) throw err
    log.warn({ err }, 'the demo has no host authority')
    return []
  }
}

async function startTarget(
  directory: string,
  tenant: Tenant,
  { vault, log }: BootstrapDeps,
): Promise<DemoTarget> {
  const { publicKey } = await vault.describe(tenant.id, 'admin_ssh')
  return startDemoTarget({ directory, accepts: keyOf(publicKey), log })
}

async function makeUser(directory: string, tenant: Tenant, { auth }: BootstrapDeps) {
  const users = await auth.listUsers(tenant.id)
  if (!users.some(({ name }) => name === user))
    await auth.addUser(tenant.id, { name: user, role: 'owner' }, actor)
  const line = await keepDemoKey(directory)
  const keys = await auth.listKeys(tenant.id, user)
  if (!keys.some((key) => key.fingerprint === fingerprint(keyOf(line))))
    await auth.addKey(tenant.id, user, line, {}, actor)
}

async function makeTarget(tenant: Tenant, target: DemoTarget, deps: BootstrapDeps) {
  const { access, log } = deps
  const grants = (await access.listGrants(tenant.id)).filter(
    (grant) => grant.target === targetName && !isOver(grant),
  )
  if (await hasMoved(tenant, target, deps)) {
    await access.removeTarget(tenant.id, targetName, actor)
    log.info({ port: target.port }, 'demo target moved')
  }
  if ((await access.findTarget(tenant.id, targetName)) === undefined) {
    await addTarget(tenant, target, deps)
    // They were removed with the old target.
    for (const grant of grants)
      await access.addGrant(tenant.id, newGrantOf(grant, target.login), actor)
  }
}

async function makeGrant(tenant: Tenant, { access }: BootstrapDeps) {
  const grants = await access.listGrants(tenant.id)
  if (!grants.some((grant) => grant.user === user && grant.target === targetName))
    await access.addGrant(tenant.id, { user, target: targetName }, actor)
}

/** Whether the target of the last start has another address, login or host key than this one. */
async function hasMoved(tenant: Tenant, target: DemoTarget, { access }: BootstrapDeps) {
  const known = await access.findTarget(tenant.id, targetName)
  return known !== undefined && !isSame(known, target)
}

function isOver({ until }: Grant): boolean {
  return until !== undefined && Date.parse(until) <= Date.now()
}

/** The same grant on a target that has one login. */
function newGrantOf(grant: Grant, login: string): NewGrant {
  const { user, role, target, logins, allow, forwards, until } = grant
  return {
    target,
    logins: logins.length === 0 ? [] : [login],
    allow,
    forwards,
    ...(user !== undefined && { user }),
    ...(role !== undefined && { role }),
    ...(until !== undefined && { until }),
  }
}

async function addTarget(tenant: Tenant, target: DemoTarget, { access }: BootstrapDeps) {
  const { host, port, login } = target
  const hostKeys = target.hostKeys.map(({ publicKey: { type, blob } }) => ({ type, blob }))
  const added = { name: targetName, host, port, logins: [login], hostKeys }
  await access.addTarget(tenant.id, added, actor)
}

function isSame(known: Target, { port, login, hostKeys }: DemoTarget): boolean {
  return (
    known.port === port &&
    known.logins.includes(login) &&
    known.hostKeys.length === hostKeys.length &&
    hostKeys.every((key) => known.hostKeys.some(({ blob }) => blob.equals(key.publicKey.blob)))
  )
}

function keyOf(line: string): Buffer {
  const parsed = parsePublicKey(line)
  if ('problem' in parsed) throw new Error(`a key of our own is wrong: ${parsed.problem}`)
  return parsed.key.blob
}
