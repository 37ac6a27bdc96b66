import type { Channel, ChannelRequest } from '../../../ssh/index.ts'
import { encodeSize, parseSize, type Size } from './pty.ts'

/** A signal, a break: what a client asks of what runs is short. */
const payloadBytesMax = 256

/**
 * Carries a request of a client's to what runs on a target, and the answer back; others than these
 * get a no. Throws WireError.
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
