import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { FileUnusable, reason } from './errors.ts'
import type { Terminal } from './terminal.ts'

/** Keys and host keys are a few hundred bytes. */
const textBytesMax = 64 * 1024

/** Reads FILE, or stdin for `-`, as UTF-8 of at most 64 KiB. Throws FileUnusable. */
export async function readText(path: string, { stdin, stderr }: Terminal): Promise<string> {
  if (path !== '-') return readAll(path, await openFile(path))
  if (stdin.isTTY === true) stderr.write('reading from the terminal: end with Ctrl-D\n')
  return readAll('stdin', stdin)
}

/** A recording is no longer than this. */
const recordingBytesMax = 64 * 1024 ** 3

/**
 * A recording that can be read repeatedly. It never waits for the other end of a FIFO, and never
 * reads a device.
 */
export async function openRecordingFile(path: string): Promise<() => Readable> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (err) {
    throw new FileUnusable(`cannot read ${path}: ${reason(err)}`, { cause: err })
  }
  const stat = await file.stat()
  const isUsable = stat.isFile() && stat.size <= recordingBytesMax
  if (!isUsable) {
    await file.close()
    const why = stat.isFile() ? 'it is too large for a recording' : 'it is not a file'
    throw new FileUnusable(`cannot read ${path}: ${why}`)
  }
  return () => file.createReadStream({ start: 0, autoClose: false })
}

/** Opens a file for reading. Throws FileUnusable. */
export async function openFile(path: string): Promise<Readable> {
  try {
    const file = await open(path)
    const stat = await file.stat()
    if (stat.isFile() || stat.isFIFO()) return file.createReadStream()
    await file.close()
  } catch (err) {
    throw new FileUnusable(`cannot read ${path}: ${reason(err)}`, { cause: err })
  }
  throw new FileUnusable(`cannot read ${path}: it is not a file`)
}

async function readAll(name: string, stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    const buffer = Buffer.from(chunk)
    bytes += buffer.length
    if (bytes > textBytesMax) {
      stream.destroy()
      throw new FileUnusable(`${name} is too long: the limit is ${textBytesMax / 1024} KiB`)
    }
    chunks.push(buffer)
  }
  const text = decode(name, Buffer.concat(chunks))
  if (text.trim() === '') throw new FileUnusable(`${name} is empty`)
  return text
}

function decode(name: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (err) {
    throw new FileUnusable(`${name} is not UTF-8 text`, { cause: err })
  }
}
