import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Session } from '../../access/index.ts'
import { parseSessionId } from '../../recorder/index.ts'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { CheckFailed, FileUnusable, NotFound } from '../errors.ts'
import { openFile, reason } from '../input.ts'
import { readableBytes, readableDuration, readableTime } from '../moment.ts'
import { findRecordingEvent } from '../recording-event.ts'
import { type Column, formatFields } from '../table.ts'
import { write } from '../terminal.ts'
import { type JsonOption, jsonOption, parseCount } from './options.ts'

const columns: readonly Column<Session>[] = [
  { title: 'STARTED', value: ({ startedAt }) => readableTime(startedAt) },
  { title: 'USER', value: ({ user }) => user },
  { title: 'TARGET', value: ({ login, target }) => `${login}@${target}` },
  { title: 'KIND', value: ({ kind }) => kind },
  { title: 'VIA', value: ({ via }) => via },
  { title: 'ENDED', value: endOf },
  { title: 'DURATION', value: durationOf, align: 'right' },
  { title: 'BYTES', value: ({ bytes }) => readableBytes(bytes), align: 'right' },
  { title: 'ID', value: ({ id }) => id },
]

const killWaitMs = 5000
const killPollMs = 50

/** session list, show, kill, export, verify: the operator's, who sees every session. */
export function sessionCommands(program: Command, context: Context): void {
  const session = program.command('session').description('sessions through the bastion')
  session
    .command('list')
    .description('the sessions of a tenant, newest first')
    .argument('<tenant>')
    .option('--live', 'only those that are open now')
    .option('--limit <count>', 'how many at most', parseCount, 100)
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        { live, limit, json }: JsonOption & { readonly live?: boolean; readonly limit: number },
      ) => {
        const list = await context.withTenant('session list', slug, ({ access }, tenant) =>
          access.sessions(tenant.id, { limit, ...(live === true ? { live } : {}) }),
        )
        const none = live === true ? 'no session is open' : 'no sessions yet'
        await context.printList(list, { json, columns, toJson, none })
      },
    )
  session
    .command('show')
    .description('everything about one session')
    .argument('<id>')
    .addOption(jsonOption())
    .action(async (id: string, { json }: JsonOption) => {
      const found = await context.withProduct('session show', (product) => find(product, id))
      if (json === true) return context.printJson(toJson(found))
      const fields = Object.entries(toJson(found)).filter(([, value]) => value !== null)
      await context.print(...formatFields(fields.map(([name, value]) => [name, String(value)])))
    })
  killCommand(session, context)
  exportCommand(session, context)
  verifyCommand(session, context)
}

function killCommand(session: Command, context: Context): void {
  session
    .command('kill')
    .description('end a live session, on whichever node it is')
    .argument('<id>')
    .option('--reason <text>', 'what its user is told')
    .addOption(jsonOption())
    .action(
      async (id: string, { reason: why, json }: JsonOption & { readonly reason?: string }) => {
        const ended = await context.withProduct('session kill', async (product) => {
          const { access } = product
          const found = await find(product, id)
          if (!found.live) return found
          const session = parseSessionId(found.id)
          if (session !== undefined) await access.killSession(session, context.actor, why)
          const deadline = performance.now() + killWaitMs
          for (;;) {
            const now = await find(product, id)
            if (!now.live) return now
            if (performance.now() > deadline) {
              throw new CheckFailed(
                `session ${id} is marked to end, but its node has not ended it yet; is it running?`,
              )
            }
            await sleep(killPollMs)
          }
        })
        const line = ended.reason === 'killed' ? `killed ${id}` : `${id} had ended already`
        await context.printDone(json, toJson(ended), line)
      },
    )
}

function exportCommand(session: Command, context: Context): void {
  session
    .command('export')
    .description('write the recording of a session, as asciicast v3')
    .argument('<id>')
    .option('-o, --output <file>', 'where to; without, to stdout')
    .option('--force', 'overwrite the file')
    .action(
      async (
        id: string,
        { output, force }: { readonly output?: string; readonly force?: boolean },
      ) => {
        await context.withProduct('session export', async (product) => {
          const found = await find(product, id)
          const session = parseSessionId(found.id)
          if (!found.recording || session === undefined) {
            throw new NotFound('session', `session ${id} has no recording: it showed nothing`)
          }
          const recording = await product.recorder.open(found.tenantId, session)
          // The event is on the log before a byte leaves.
          await product.audit.append(found.tenantId, {
            type: 'recording.open',
            public: { session: found.id, via: 'cli', actor: 'cli', actorKind: 'operator' },
            private: { actorName: context.actor.name },
          })
          if (output === undefined) {
            for await (const chunk of recording) await write(context.terminal.stdout, chunk)
            return
          }
          try {
            const flags = force === true ? 'w' : 'wx'
            await pipeline(recording, createWriteStream(output, { flags, mode: 0o600 }))
          } catch (err) {
            recording.destroy()
            const hint = force === true ? '' : ' (--force overwrites)'
            throw new FileUnusable(`cannot write ${output}: ${reason(err)}${hint}`, { cause: err })
          }
          context.terminal.stderr.write(`wrote ${output}\n`)
        })
      },
    )
}

function verifyCommand(session: Command, context: Context): void {
  session
    .command('verify')
    .description('compare a recording, by its session id or as a file, with the log')
    .argument('<id|file>')
    .addOption(jsonOption())
    .action(async (subject: string, { json }: JsonOption) => {
      const result = await context.withProduct('session verify', async (product) => {
        const id = parseSessionId(subject)
        if (id === undefined) {
          const sha256 = await digest(await openFile(subject))
          return { sha256, event: await findRecordingEvent(product, { sha256 }) }
        }
        const found = await find(product, id)
        if (found.live) throw new CheckFailed(`session ${id} is still being recorded`)
        const sha256 = await digest(await product.recorder.open(found.tenantId, id))
        const event = await findRecordingEvent(product, { session: id, tenant: found.tenantId })
        return { sha256, event }
      })
      const { sha256, event } = result
      const ok = event?.recordingSha256 === sha256
      const value = { ok, sha256, session: event?.session ?? null, event: event?.index ?? null }
      if (ok) {
        const line = `intact: the recording matches event ${event.index} of ${event.tenant}, for session ${event.session}`
        return context.printDone(json, value, line)
      }
      if (json === true) await context.printJson(value)
      throw new CheckFailed(
        event === undefined
          ? `no log has a recording like ${subject}: it was changed, or is not from this bastion`
          : `the recording of ${event.session} does not match the log: it was changed`,
      )
    })
}

async function digest(stream: NodeJS.ReadableStream): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(stream, hash)
  return hash.digest('hex')
}

async function find({ access }: CliProduct, id: string): Promise<Session> {
  const found = await access.findSession(id)
  if (found === undefined)
    throw new NotFound('session', `there is no session ${JSON.stringify(id)}`)
  return found
}

function endOf({ live, exitStatus, exitSignal, reason: why }: Session): string {
  if (live) return 'live'
  if (exitStatus !== null) return `exit ${exitStatus}`
  return exitSignal === null ? (why ?? '-') : `signal ${exitSignal}`
}

function durationOf({ startedAt, endedAt }: Session): string {
  const end = endedAt === null ? Date.now() : Date.parse(endedAt)
  return readableDuration(end - Date.parse(startedAt))
}

function toJson(session: Session): object {
  const { tenantId: _, ...shown } = session
  return { ...shown, command: session.command ?? null }
}
