import { type Duplex, duplexPair } from 'node:stream'
import { Writer } from '../../src/ssh/wire.ts'
import { msg } from './ssh-attacker.ts'

export type Side = 'client' | 'server'

export interface Tap {
  readonly client: Duplex
  readonly server: Duplex
  /** What passed before it was sealed, in order. */
  readonly seen: { readonly from: Side; readonly payload: Buffer }[]
}

/**
 * A wire with somebody on it, who reads all messages up to the new keys and may put others in their
 * place.
 */
export function openTap(edit: (from: Side, payload: Buffer) => Buffer = (_, same) => same): Tap {
  const [client, nearClient] = duplexPair()
  const [server, nearServer] = duplexPair()
  const seen: { from: Side; payload: Buffer }[] = []
  const join = (from: Side, source: Duplex, target: Duplex) => {
    const read = reader((payload) => {
      seen.push({ from, payload: Buffer.from(payload) })
      target.write(frame(edit(from, payload)))
    })
    source.on('data', (chunk: Buffer) => read(chunk, (raw) => target.write(raw)))
    source.on('error', () => target.destroy())
    source.on('end', () => target.end())
    source.on('close', () => target.destroy())
  }
  join('client', nearClient, nearServer)
  join('server', nearServer, nearClient)
  return { client, server, seen }
}

/** Gives packets as long as they can be read, and the identification and all the rest as bytes. */
function reader(onPayload: (payload: Buffer) => void) {
  let buffer = Buffer.alloc(0)
  let phase: 'identification' | 'packets' | 'sealed' = 'identification'
  return (chunk: Buffer, onRaw: (raw: Buffer) => void) => {
    buffer = Buffer.concat([buffer, chunk])
    if (phase === 'identification') {
      const end = buffer.indexOf('\n')
      if (end === -1) return
      onRaw(buffer.subarray(0, end + 1))
      buffer = buffer.subarray(end + 1)
      phase = 'packets'
    }
    while (phase === 'packets' && buffer.length >= 4) {
      const size = 4 + buffer.readUInt32BE(0)
      if (buffer.length < size) return
      const payload = buffer.subarray(5, size - buffer.readUInt8(4))
      buffer = buffer.subarray(size)
      if (payload[0] === msg.newKeys) phase = 'sealed'
      onPayload(payload)
    }
    if (phase === 'sealed' && buffer.length > 0) {
      onRaw(buffer)
      buffer = Buffer.alloc(0)
    }
  }
}

function frame(payload: Buffer): Buffer {
  const padding = 4 + ((8 - ((5 + payload.length + 4) % 8)) % 8)
  return new Writer()
    .u32(1 + payload.length + padding)
    .u8(padding)
    .bytes(payload)
    .bytes(Buffer.alloc(padding))
    .build()
}
