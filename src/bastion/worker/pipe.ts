import type { Channel } from '../../ssh/index.ts'
import type { RelayBytes } from './relay.ts'

/**
 * Joins two channels, byte for byte, each way until its own end. Credit goes back to the sending
 * side after the other side's transport has the bytes: at most one window of them is ever here. The
 * result counts the bytes as they go. Before bytes are carried, check() may end the process.
 */
export function pipe(
  client: Channel,
  target: Channel,
  check: () => void,
  over: () => void,
): Readonly<RelayBytes> {
  const bytes: RelayBytes = { up: 0, down: 0 }
  let open = 2
  const join = (from: Channel, to: Channel, direction: keyof RelayBytes) => {
    // One function for all data, so that small pieces can wait as one.
    const sent = (count: number) => from.consumed(count)
    from.handle({
      data(chunk) {
        check()
        bytes[direction] += chunk.length
        to.write(chunk, sent)
      },
      extendedData: (_kind, chunk) => from.drop(chunk),
      request: (request) => request.reply(false),
      eof: () => to.eof(),
      close() {
        to.close()
        if (--open === 0) over()
      },
    })
  }
  join(client, target, 'up')
  join(target, client, 'down')
  return bytes
}
