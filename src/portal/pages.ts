import type { FastifyInstance } from 'fastify'
import { type Access, type Act, reachOf } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import {
  allowPlayer,
  type BuiltPages,
  type Html,
  type PageFiles,
  RouteMissing,
  type SignIn,
} from '../http/index.ts'
import { place, portalPage } from './frame.ts'
import {
  plainSecurityPage,
  plainSessionPage,
  plainSessionsPage,
  plainTargetsPage,
} from './plain-pages.ts'

/** Where people's ssh connects to. Without a host, it is that of the page's own address. */
export interface SshAddress {
  readonly host: string | undefined
  readonly port: number
}

export interface PagesDeps {
  readonly access: Pick<Access, 'sessionsFor' | 'sessionFor' | 'listChoicesFor'>
  /** undefined: they were not built, and the plain pages stand in their place. */
  readonly built: BuiltPages | undefined
  readonly ssh: () => SshAddress
}

const plainMax = 200
const htmlType = 'text/html; charset=utf-8'
/** The page has no data: what it shows comes by the API, each with its own right. */
const withoutData = { config: { right: 'self.read' satisfies Act } }
const readsSessions = { config: { right: 'session.read' satisfies Act } }
const opensTargets = { config: { right: 'target.open' satisfies Act } }

/** The pages for signed-in people: built ones that call the API, and plain ones beside them. */
export function addPages(
  app: FastifyInstance,
  signIn: Pick<SignIn<WebIdentity>, 'guarded'>,
  deps: PagesDeps,
): void {
  addBuiltPages(app, signIn, deps)
  addPlainPages(app, signIn, deps)
}

function addBuiltPages(
  app: FastifyInstance,
  signIn: Pick<SignIn<WebIdentity>, 'guarded'>,
  { access, built, ssh }: PagesDeps,
): void {
  const files = built && {
    home: built.page('home'),
    sessions: built.page('sessions'),
    session: built.page('session'),
    security: built.page('security'),
    members: built.page('members'),
  }
  const lists = [
    { path: '/', title: 'Targets', of: 'targets', plain: '/plain', files: files?.home },
    {
      path: '/sessions',
      title: 'Sessions',
      of: 'sessions',
      plain: '/plain/sessions',
      files: files?.sessions,
    },
    {
      path: '/settings/security',
      title: 'Security and keys',
      of: 'settings',
      plain: '/plain/security',
      files: files?.security,
    },
  ] as const
  for (const { path, title, of, plain, files } of lists) {
    app.get(
      path,
      withoutData,
      signIn.guarded(async (person, _request, reply) => {
        if (files === undefined) return reply.redirect(plain, 303)
        reply.type(htmlType)
        const body = place(factsOf(person, ssh()), { title, plain })
        return text(portalPage(person, { title, of, body, files }))
      }),
    )
  }
  app.get(
    '/settings/members',
    { config: { right: 'member.read' satisfies Act } },
    signIn.guarded(async (person, _request, reply) => {
      if (membersOf(person) === 'none') throw new RouteMissing()
      if (files === undefined) return reply.redirect('/plain/security', 303)
      const title = 'Members'
      reply.type(htmlType)
      const body = place(factsOf(person, ssh()), { title, plain: '/plain/security' })
      return text(portalPage(person, { title, of: 'settings', body, files: files.members }))
    }),
  )
  app.get(
    '/sessions/:id',
    readsSessions,
    signIn.guarded(async (person, request, reply) => {
      const session = await access.sessionFor(person, 'session.read', request.params.id ?? '')
      if (session === undefined) throw new RouteMissing()
      const plain = `/plain/sessions/${session.id}`
      if (files === undefined) return reply.redirect(plain, 303)
      allowPlayer(reply)
      reply.type(htmlType)
      return text(sessionShell(person, { session, plain, files: files.session, ssh: ssh() }))
    }),
  )
}

function sessionShell(
  person: WebIdentity,
  {
    session,
    plain,
    files,
    ssh,
  }: {
    readonly session: { readonly id: string; readonly user: string; readonly target: string }
    readonly plain: string
    readonly files: PageFiles
    readonly ssh: SshAddress
  },
): Html {
  const title = `${session.user} on ${session.target}`
  const body = place({ ...factsOf(person, ssh), session: session.id }, { title, plain })
  return portalPage(person, { title, of: 'sessions', body, files })
}

/** They show and hide acts on the page. The routes decide. */
function factsOf(person: WebIdentity, { host, port }: SshAddress) {
  return {
    tenant: person.tenantSlug,
    user: person.user.name,
    ends: reachOf(person, 'session.end'),
    sees: reachOf(person, 'session.read'),
    role: person.user.role,
    members: membersOf(person),
    'ssh-host': host ?? '',
    'ssh-port': `${port}`,
  }
}

/** What the person may do with the members of the tenant. */
function membersOf(person: WebIdentity): 'change' | 'read' | 'none' {
  if (reachOf(person, 'member.change') === 'all') return 'change'
  return reachOf(person, 'member.read') === 'all' ? 'read' : 'none'
}

function addPlainPages(
  app: FastifyInstance,
  signIn: Pick<SignIn<WebIdentity>, 'guarded'>,
  { access, built, ssh }: PagesDeps,
): void {
  const isBuilt = built !== undefined
  app.get(
    '/plain',
    opensTargets,
    signIn.guarded(async (person, request, reply) => {
      const { choices } = await access.listChoicesFor(person, { limit: plainMax })
      const { host = request.hostname, port } = ssh()
      reply.type(htmlType)
      return text(plainTargetsPage(person, { targets: choices, ssh: { host, port }, isBuilt }))
    }),
  )
  app.get(
    '/plain/security',
    withoutData,
    signIn.guarded(async (person, _request, reply) => {
      reply.type(htmlType)
      return text(plainSecurityPage(person, { isBuilt }))
    }),
  )
  app.get(
    '/plain/sessions',
    readsSessions,
    signIn.guarded(async (person, _request, reply) => {
      const sessions = await access.sessionsFor(person, { limit: plainMax })
      reply.type(htmlType)
      return text(plainSessionsPage(person, { sessions, isBuilt }))
    }),
  )
  app.get(
    '/plain/sessions/:id',
    readsSessions,
    signIn.guarded(async (person, request, reply) => {
      const session = await access.sessionFor(person, 'session.read', request.params.id ?? '')
      if (session === undefined) throw new RouteMissing()
      reply.type(htmlType)
      return text(plainSessionPage(person, { session, isBuilt }))
    }),
  )
}

function text(document: Html): string {
  return document.toString()
}
