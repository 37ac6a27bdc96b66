import type { Channel } from '../../../ssh/index.ts'

/** How long a client may take to accept the last line before its channel is simply closed. */
const farewellMs = 1000

/** One line on stderr, exit status 255, and the end of the channel. */
export function bidFarewell(channel: Channel, line: string): void {
  channel.writeExtended(1, Buffer.from(line), () => {})
  // A client that has gone does not need it.
  channel.request('exit-status', Buffer.of(0, 0, 0, 255), false).catch(() => {})
  channel.eof()
  channel.close()
  // A client that does not read, not even this line, is not waited for.
  setTimeout(() => channel.abort(), farewellMs).unref()
}
