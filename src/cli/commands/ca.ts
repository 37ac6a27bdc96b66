import { type Command, InvalidArgumentError, Option } from 'commander'
import { hostNames } from '../../access/index.ts'
import { actorKeys, actorNames } from '../../auth/index.ts'
import type { Authority, IssuedCertificate } from '../../ca/index.ts'
import { type CertificateKind, formatPublicKey, parsePublicKey } from '../../ssh/index.ts'
import type { Tenant } from '../../tenant/index.ts'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { CheckFailed, FileUnusable, NotFound, reason, shown, WrongUsage } from '../errors.ts'
import { readText } from '../input.ts'
import { parseSpan } from '../moment.ts'
import { replaceFile } from '../output-file.ts'
import { withProgress } from '../progress.ts'
import { checkTarget } from '../target-check.ts'
import { write } from '../terminal.ts'
import { type JsonOption, jsonOption } from './options.ts'

interface KindOption extends JsonOption {
  readonly host?: boolean
}

/** ca show, issue, host, revoke, krl, rotate. */
export function caCommands(program: Command, context: Context): void {
  const ca = program.command('ca').description('issue and revoke certificates for users and hosts')
  showCommand(ca, context)
  issueCommand(ca, context)
  hostCommand(ca, context)
  revokeCommand(ca, context)
  krlCommand(ca, context)
  rotateCommand(ca, context)
}

function showCommand(ca: Command, context: Context): void {
  ca.command('show')
    .description(
      'print the public keys to trust: for TrustedUserCAKeys, or with --host for known_hosts',
    )
    .argument('<tenant>')
    .addOption(hostOption())
    .addOption(jsonOption())
    .action(async (slug: string, { host, json }: KindOption) => {
      const kind = kindOf(host)
      const { authorities, patterns } = await context.withTenant(
        'ca show',
        slug,
        async (product, tenant) => ({
          authorities: await product.ca.authorities(tenant.id, kind),
          patterns: kind === 'host' ? await patternsOf(product, tenant) : '',
        }),
      )
      const line = (one: Authority) => trustLine(one, slug, patterns)
      if (json !== true) return context.print(...authorities.map(line))
      await context.printJson(authorities.map((one) => ({ ...toJson(one), line: line(one) })))
    })
}

function issueCommand(ca: Command, context: Context): void {
  ca.command('issue')
    .description("print a certificate for a user's own key, for logins to the bastion")
    .argument('<tenant>')
    .requiredOption('--user <user>', 'the owner of the key')
    .requiredOption('--key <file>', 'the public key (.pub), or - for stdin')
    .addOption(
      new Option('--ttl <span>', 'lifetime: 30m, 8h; at most 24h')
        .argParser(parseTtl)
        .default(8 * 3600, '8h'),
    )
    .option('--force-command <command>', 'the only command that the certificate allows')
    .option(
      '--source-address <list>',
      'addresses that it may be used from: 192.0.2.7,198.51.100.0/24',
    )
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        options: JsonOption & {
          readonly user: string
          readonly key: string
          readonly ttl: number
          readonly forceCommand?: string
          readonly sourceAddress?: string
        },
      ) => {
        const { user: name, key, ttl, forceCommand, sourceAddress, json } = options
        const { blob: publicKey, comment } = await readKey(context, key)
        const issued = await context.withTenant('ca issue', slug, async ({ auth, ca }, tenant) => {
          const user = (await auth.listUsers(tenant.id)).find((one) => one.name === name)
          if (user === undefined) throw new NotFound('user', `${slug} has no user ${shown(name)}`)
          return ca.issueUser(
            tenant.id,
            {
              user,
              publicKey,
              ttlSeconds: ttl,
              ...(forceCommand === undefined ? {} : { forceCommand }),
              ...(sourceAddress === undefined ? {} : { sourceAddress }),
            },
            { public: actorKeys(context.actor), private: actorNames(context.actor) },
          )
        })
        await printCertificate(context, json, issued, comment)
      },
    )
}

function hostCommand(ca: Command, context: Context): void {
  ca.command('host')
    .description(
      "print a certificate for a target's host key, for HostCertificate in its sshd_config",
    )
    .argument('<tenant>')
    .argument('<name>', 'the target')
    .requiredOption('--key <file>', "the host's public key (.pub), or - for stdin")
    .addOption(
      new Option('--ttl <span>', 'lifetime: 30d; at most 90d')
        .argParser(parseTtl)
        .default(30 * 86_400, '30d'),
    )
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        name: string,
        options: JsonOption & { readonly key: string; readonly ttl: number },
      ) => {
        const { key, ttl, json } = options
        const { blob: publicKey, comment } = await readKey(context, key)
        const issued = await context.withTenant('ca host', slug, async ({ access, ca }, tenant) => {
          const target = await access.findTarget(tenant.id, name)
          if (target === undefined)
            throw new NotFound('target', `there is no target ${shown(name)}`)
          const made = await ca.issueHost(
            tenant.id,
            { target, publicKey, names: hostNames(slug, target), ttlSeconds: ttl },
            actorKeys(context.actor),
          )
          await access.certifyHost(tenant.id, name)
          return made
        })
        await printCertificate(context, json, issued, comment)
      },
    )
}

function revokeCommand(ca: Command, context: Context): void {
  ca.command('revoke')
    .description('revoke a certificate or a key, and end the sessions that use it')
    .argument('<tenant>')
    .option('--serial <n>', 'one certificate', parseSerial)
    .option(
      '--generation <n>',
      'the generation of the authority that signed it (default: the active one)',
      parseGeneration,
    )
    .option('--key-id <id>', 'every certificate with this key id')
    .option('--key <file|fingerprint>', 'every certificate for this key, or signed by it')
    .addOption(hostOption())
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        options: KindOption & {
          readonly serial?: bigint
          readonly generation?: number
          readonly keyId?: string
          readonly key?: string
        },
      ) => {
        const { serial, generation, keyId, key, host, json } = options
        if ([serial, keyId, key].filter((given) => given !== undefined).length !== 1) {
          throw new WrongUsage('give exactly one of --serial, --key-id or --key')
        }
        const fingerprint = key === undefined ? undefined : await fingerprintOf(context, key)
        const isNew = await context.withTenant('ca revoke', slug, ({ ca: authority }, tenant) =>
          authority.revoke(
            tenant.id,
            kindOf(host),
            {
              ...(serial === undefined ? {} : { serial }),
              ...(generation === undefined ? {} : { generation }),
              ...(keyId === undefined ? {} : { keyId }),
              ...(fingerprint === undefined ? {} : { fingerprint }),
            },
            actorKeys(context.actor),
          ),
        )
        const what = serial === undefined ? (keyId ?? fingerprint) : `serial ${serial}`
        const value = {
          revoked: true,
          already: !isNew,
          serial: serial?.toString() ?? null,
          keyId: keyId ?? null,
          fingerprint: fingerprint ?? null,
        }
        const line = isNew ? `revoked ${what}` : `${what} was already revoked`
        await context.printDone(json, value, line)
      },
    )
}

function krlCommand(ca: Command, context: Context): void {
  ca.command('krl')
    .description('print the revocation list, for RevokedKeys in sshd_config')
    .argument('<tenant>')
    .option('-o, --output <file>', 'the file to write, or - for stdout', '-')
    .addOption(hostOption())
    .addOption(jsonOption())
    .action(async (slug: string, options: KindOption & { readonly output: string }) => {
      const { output, host, json } = options
      const bytes = await context.withTenant('ca krl', slug, ({ ca: authority }, tenant) =>
        authority.revocationList(tenant.id, kindOf(host)),
      )
      if (json === true) {
        return context.printJson({ kind: kindOf(host), krl: bytes.toString('base64') })
      }
      if (output === '-') return write(context.terminal.stdout, bytes)
      try {
        await replaceFile(output, bytes)
      } catch (err) {
        throw new FileUnusable(`cannot write ${output}: ${reason(err)}`, { cause: err })
      }
      context.terminal.stderr.write(`wrote ${bytes.length} bytes to ${output}\n`)
    })
}

function rotateCommand(ca: Command, context: Context): void {
  ca.command('rotate')
    .description('switch to the next generation of keys, once every target trusts it')
    .argument('<tenant>')
    .addOption(hostOption())
    .option('--force', 'rotate even if a target does not trust it, or cannot be reached')
    .addOption(jsonOption())
    .action(async (slug: string, options: KindOption & { readonly force?: boolean }) => {
      const { host, force, json } = options
      const kind = kindOf(host)
      const authorities = await context.withTenant('ca rotate', slug, async (product, tenant) => {
        if (kind === 'user' && force !== true) await requireTrust(context, product, tenant)
        return product.ca.rotate(tenant.id, kind, actorKeys(context.actor))
      })
      if (json === true) return context.printJson(authorities.map(toJson))
      await context.print(
        ...authorities.map((one) => `${one.state.padEnd(8)} ${one.generation}  ${one.fingerprint}`),
        kind === 'user'
          ? `next: on each target, run the lines of \`vaultterm target onboard ${slug} NAME\` again`
          : `next: send the lines of \`vaultterm ca show ${slug} --host\` to all users again`,
      )
    })
}

/** A target that does not trust the next authority would refuse the bastion after a rotation. */
async function requireTrust(context: Context, product: CliProduct, tenant: Tenant): Promise<void> {
  const targets = (await product.access.listTargets(tenant.id)).filter(
    ({ auth }) => auth === 'cert',
  )
  const against: string[] = []
  for (const target of targets) {
    const [login = ''] = target.logins
    const { ok, message } = await withProgress(
      context.terminal,
      `checking that ${target.name} trusts the next authority`,
      () => checkTarget(product, tenant, target, login, 'next'),
    )
    if (!ok) against.push(`${target.name}: ${message}`)
  }
  if (against.length === 0) return
  throw new CheckFailed(
    `not rotated: ${against.length} of ${targets.length} targets would refuse the bastion (${against.join('; ')}); onboard them again, or use --force`,
  )
}

async function printCertificate(
  context: Context,
  json: boolean | undefined,
  issued: IssuedCertificate,
  comment: string,
): Promise<void> {
  const { blob, ...rest } = issued
  const line = `${issued.type} ${blob.toString('base64')}${comment === '' ? '' : ` ${comment}`}`
  if (json === true) {
    return context.printJson({ ...rest, serial: issued.serial.toString(), certificate: line })
  }
  await context.print(line)
  context.terminal.stderr.write(
    `serial ${issued.serial} of generation ${issued.generation}, valid until ${issued.validBefore}\n`,
  )
}

async function readKey(context: Context, file: string) {
  const parsed = parsePublicKey(await readText(file, context.terminal))
  if ('problem' in parsed) throw new FileUnusable(`${file}: ${parsed.problem}`)
  return parsed.key
}

async function fingerprintOf(context: Context, key: string): Promise<string> {
  return key.startsWith('SHA256:') ? key : (await readKey(context, key)).fingerprint
}

/** The host names that people dial for the tenant's targets. */
async function patternsOf({ access }: CliProduct, { id, slug }: Tenant): Promise<string> {
  const names = (await access.listTargets(id)).map(({ name }) => name)
  return [`*.${slug}`, ...names].join(',')
}

function trustLine({ kind, generation, publicKey }: Authority, slug: string, patterns: string) {
  const comment = `vaultterm ${kind} CA of ${slug}, generation ${generation}`
  const key = formatPublicKey({ type: 'ssh-ed25519', blob: publicKey }, comment)
  return kind === 'host' ? `@cert-authority ${patterns} ${key}` : key
}

function toJson({ kind, generation, state, publicKey, fingerprint, createdAt }: Authority) {
  const key = formatPublicKey({ type: 'ssh-ed25519', blob: publicKey })
  return { kind, generation, state, publicKey: key, fingerprint, createdAt }
}

function kindOf(host: boolean | undefined): CertificateKind {
  return host === true ? 'host' : 'user'
}

function hostOption(): Option {
  return new Option('--host', 'use the authority for hosts instead of the one for users')
}

function parseTtl(value: string): number {
  return parseSpan(value) / 1000
}

function parseSerial(value: string): bigint {
  if (!/^[1-9]\d{0,18}$/.test(value)) throw new InvalidArgumentError('give a whole number from 1')
  return BigInt(value)
}

function parseGeneration(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('give a whole number from 1')
  return Number(value)
}
