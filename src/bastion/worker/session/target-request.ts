import type { Channel, ChannelRequest } from '../../../ssh/index.ts'
import { encodeSize, parseSize, type Size } from './pty.ts'

/** Requests of a client to a running program (a signal, a break) are short. */
const payloadBytesMax = 256

/**
 * Carries a client's request to the running program on a target, and the answer back. Other
 * requests are refused. Throws WireError.
 */
export function carryRequest(
  request: ChannelRequest,
  target: Channel,
  resized: (size: Size) => void,
): void {
  switch (request.name) {
    case 'window-change': {
      const size = parseSize(request.payload)
      resized(size)
      // A target that has gone has no window.
      target.request('window-change', encodeSize(size), false).catch(() => {})
      return request.reply(true)
    }
    case 'signal':
    case 'break':
    case 'eow@openssh.com':
      if (request.payload.length > payloadBytesMax) return request.reply(false)
      target.request(request.name, request.payload, request.wantReply).then(
        (success) => request.reply(success),
        () => request.reply(false),
      )
      return
    default:
      // RFC 4254 section 6.5: only one shell, exec or subsystem a channel; env comes before it.
      return request.reply(false)
  }
}
