import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { Random } from './random.ts'

/** The same socket, on which everything is written in small pieces: single bytes, often enough. */
export function inPieces(socket: Socket, random: Random): Duplex {
  socket.setNoDelay()
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      void writePieces(socket, chunk, random).then(() => done())
    },
    final(done) {
      socket.end(done)
    },
    destroy(_err, done) {
      socket.destroy()
      done(null)
    },
  })
  socket.on('data', (chunk) => duplex.push(chunk))
  socket.on('end', () => duplex.push(null))
  socket.on('close', () => duplex.destroy())
  return duplex
}

async function writePieces(socket: Socket, chunk: Buffer, random: Random): Promise<void> {
  const longest = chunk.length < 256 && random.chance(0.5) ? 1 : Math.ceil(chunk.length / 8)
  for (let at = 0; at < chunk.length && !socket.destroyed; ) {
    const end = at + 1 + random.int(longest)
    socket.write(chunk.subarray(at, end))
    at = end
    await setImmediate()
  }
}
