import { Reader, Writer } from '../../../ssh/index.ts'

/** The terminal that a client asks for: RFC 4254 section 6.2. */
export interface Pty {
  readonly term: string
  readonly cols: number
  readonly rows: number
  readonly widthPx: number
  readonly heightPx: number
  /** Encoded terminal modes: RFC 4254 section 8. */
  readonly modes: Buffer
}

/** 0 means unknown: `ssh -tt` without a terminal of its own. */
export type Size = Pick<Pty, 'cols' | 'rows' | 'widthPx' | 'heightPx'>

const termName = /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$/
const modesBytesMax = 1024

/** Reads a `pty-req` payload; throws WireError when it is malformed. */
export function parsePty(payload: Buffer): Pty {
  const reader = new Reader(payload)
  const term = reader.string().toString('latin1')
  const size = readSize(reader)
  const modes = reader.string()
  reader.end()
  return {
    // A name with escapes in it would reach the target's terminfo and the recording's header.
    term: termName.test(term) ? term : 'dumb',
    ...size,
    modes: wellFormed(modes.subarray(0, modesBytesMax)),
  }
}

export function encodePty(pty: Pty): Buffer {
  return new Writer()
    .text(pty.term)
    .u32(pty.cols)
    .u32(pty.rows)
    .u32(pty.widthPx)
    .u32(pty.heightPx)
    .string(pty.modes)
    .build()
}

/** Reads a `window-change` payload: RFC 4254 section 6.7. */
export function parseSize(payload: Buffer): Size {
  const reader = new Reader(payload)
  const size = readSize(reader)
  reader.end()
  return size
}

export function encodeSize(size: Size): Buffer {
  return new Writer().u32(size.cols).u32(size.rows).u32(size.widthPx).u32(size.heightPx).build()
}

/**
 * Each mode is an opcode and a number. Opcodes from 160 on have no defined form, so reading stops
 * there.
 */
const modeBytes = 5
const modesEnd = 0
const opcodeMax = 159

/**
 * The modes up to the first malformed byte: a server that gets such a byte may end the connection
 * with all its sessions.
 */
function wellFormed(modes: Buffer): Buffer {
  let at = 0
  while (at + modeBytes <= modes.length) {
    const opcode = modes[at] ?? modesEnd
    if (opcode === modesEnd || opcode > opcodeMax) break
    at += modeBytes
  }
  return Buffer.concat([modes.subarray(0, at), Buffer.of(modesEnd)])
}

// A client may claim four thousand million columns; a program that allocates such a screen would
// crash.
function readSize(reader: Reader): Size {
  return {
    cols: Math.min(reader.u32(), 1000),
    rows: Math.min(reader.u32(), 500),
    widthPx: Math.min(reader.u32(), 65_535),
    heightPx: Math.min(reader.u32(), 65_535),
  }
}
