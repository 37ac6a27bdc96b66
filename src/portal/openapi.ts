import { channelKinds } from '../access/index.ts'

const problem = {
  description: 'Refused',
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['error'],
        properties: {
          error: {
            type: 'object',
            required: ['code', 'message', 'requestId'],
            properties: {
              code: { type: 'string', examples: ['ERR_NOT_FOUND'] },
              message: { type: 'string' },
              requestId: { type: 'string' },
            },
          },
        },
      },
    },
  },
}

const nullable = (type: string) => ({ type: [type, 'null'] })

const session = {
  type: 'object',
  required: ['id', 'tenant', 'user', 'target', 'login', 'kind', 'via', 'startedAt', 'live'],
  properties: {
    id: { type: 'string' },
    tenant: { type: 'string' },
    user: { type: 'string' },
    target: { type: 'string' },
    login: { type: 'string' },
    kind: { enum: channelKinds },
    via: { enum: ['direct', 'jump', 'web'] },
    command: nullable('string'),
    commandBytes: { type: 'integer' },
    commandSha256: { type: 'string' },
    startedAt: { type: 'string', format: 'date-time' },
    endedAt: {
      type: ['string', 'null'],
      format: 'date-time',
      description: 'null for a live session; for an ended one: the time of its end is unknown',
    },
    exitStatus: nullable('integer'),
    exitSignal: nullable('string'),
    reason: nullable('string'),
    bytes: {
      type: ['integer', 'null'],
      description: 'null: not known, as of a session that is live or was cut off',
    },
    recording: { type: 'boolean' },
    recordingBytes: nullable('integer'),
    recordingIntact: {
      type: ['boolean', 'null'],
      description:
        'false: the recording was changed while it grew; null: there is no witness of it',
    },
    live: { type: 'boolean' },
    source: { type: 'string' },
  },
}

const id = { name: 'id', in: 'path', required: true, schema: { type: 'string' } }
const answer = (description: string, type: string, schema: object) => ({
  200: { description, content: { [type]: { schema } } },
  401: problem,
  404: problem,
})

const rightText =
  'Owners, admins and auditors see every session of their tenant; members see their own. For any other the answer is 404.'

/** The product's API, as OpenAPI 3.1. */
export const openapi = {
  openapi: '3.1.0',
  info: { title: 'VaultTerm', version: '1' },
  components: {
    schemas: { Session: session },
    securitySchemes: { web: { type: 'apiKey', in: 'cookie', name: 'vaultterm' } },
  },
  security: [{ web: [] }],
  paths: {
    '/health': {
      get: { security: [], responses: { 200: { description: 'The process answers' } } },
    },
    '/readyz': {
      get: {
        security: [],
        responses: {
          200: { description: 'Ready for people' },
          503: { description: 'A required service does not work' },
        },
      },
    },
    '/api/v1/sessions': {
      get: {
        summary: 'The sessions that you may see, newest first',
        description: rightText,
        responses: answer('Sessions', 'application/json', {
          type: 'array',
          items: { $ref: '#/components/schemas/Session' },
        }),
      },
    },
    '/api/v1/sessions/{id}': {
      get: {
        summary: 'One session',
        description: rightText,
        parameters: [id],
        responses: answer('The session', 'application/json', {
          $ref: '#/components/schemas/Session',
        }),
      },
    },
    '/api/v1/sessions/{id}/recording.cast': {
      get: {
        summary: 'Its recording: asciicast v3. Each reading is on the audit log',
        description: rightText,
        parameters: [id],
        responses: answer('The recording', 'application/x-asciicast', { type: 'string' }),
      },
    },
  },
}
