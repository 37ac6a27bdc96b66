import type { Socket } from 'node:net'

/** Why a connection is refused before there is a request that a route could answer. */
export type BareRefusal = 'malformed' | 'slow' | 'busy'

const answers = {
  malformed: {
    status: '400 Bad Request',
    code: 'ERR_REQUEST_INVALID',
    message: 'the request is malformed',
    more: '',
  },
  slow: {
    status: '408 Request Timeout',
    code: 'ERR_REQUEST_SLOW',
    message: 'the request took too long to come',
    more: '',
  },
  busy: {
    status: '503 Service Unavailable',
    code: 'ERR_BUSY',
    message: 'too many requests are waiting: try again in some seconds',
    more: 'retry-after: 5\r\n',
  },
} as const satisfies { readonly [refusal in BareRefusal]: object }

/** Sends the shortest answer, and ends the connection. */
export function refuse(socket: Socket, refusal: BareRefusal): void {
  if (!socket.writable) return void socket.destroy()
  const { status, code, message, more } = answers[refusal]
  const body = JSON.stringify({ error: { code, message } })
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n` +
      `content-length: ${body.length}\r\ncache-control: no-store\r\n${more}connection: close\r\n\r\n${body}`,
  )
}
