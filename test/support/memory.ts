import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const stepBytes = 8 * 1048576
const overlapBytes = 1024
const pageBytes = 4096
/** Bits of the last byte of an entry: the page is in memory, or swapped out (proc_pid_pagemap(5)). */
const thereBits = 0xc0

/** The names of those needles that are anywhere in what a process may read of its own memory. */
export function findInMemory(
  pid: number,
  needles: ReadonlyMap<string, readonly Buffer[]>,
): readonly string[] {
  const search = searchFor(needles)
  const found = new Set<string>()
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8')
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  try {
    for (const line of maps.split('\n')) {
      const parts = /^([0-9a-f]+)-([0-9a-f]+) r(.)/.exec(line)
      if (parts === null || line.includes('[vvar') || line.includes('[vsyscall')) continue
      // Of a program's own file, which it cannot write: what is in it is in the file.
      if (parts[3] !== 'w' && / \/\S/.test(line)) continue
      const start = Number.parseInt(parts[1] ?? '', 16)
      const end = Number.parseInt(parts[2] ?? '', 16)
      for (const [from, to] of pagesIn(pagemap, start, end)) {
        for (let at = from; at < to; at += stepBytes) {
          const chunk = Buffer.alloc(Math.min(stepBytes + overlapBytes, to - at))
          let read = 0
          try {
            read = readSync(memory, chunk, 0, chunk.length, at)
          } catch {
            // A page that was given back since.
            continue
          }
          for (const name of search(chunk.subarray(0, read))) found.add(name)
        }
      }
    }
    return [...found]
  } finally {
    closeSync(memory)
    closeSync(pagemap)
  }
}

/** The stretches of a mapping that were ever touched: most of what a program reserves never is. */
function pagesIn(pagemap: number, start: number, end: number): readonly [number, number][] {
  const entries = Buffer.alloc(((end - start) / pageBytes) * 8)
  readSync(pagemap, entries, 0, entries.length, (start / pageBytes) * 8)
  const stretches: [number, number][] = []
  for (let page = 0; page * 8 < entries.length; page += 1) {
    if (((entries[page * 8 + 7] ?? 0) & thereBits) === 0) continue
    const at = start + page * pageBytes
    const last = stretches.at(-1)
    if (last?.[1] === at) last[1] = at + pageBytes
    else stretches.push([at, at + pageBytes])
  }
  return stretches
}

/** Looks for all of them in one pass over the bytes: there are many needles, and much memory. */
function searchFor(needles: ReadonlyMap<string, readonly Buffer[]>) {
  const byStart = new Map<number, { name: string; form: Buffer }[]>()
  const isStart = new Uint8Array(65536)
  for (const [name, forms] of needles) {
    for (const form of forms) {
      const start = form.readUInt32BE(0)
      byStart.set(start, [...(byStart.get(start) ?? []), { name, form }])
      isStart[start & 65535] = 1
    }
  }
  return (bytes: Buffer): ReadonlySet<string> => {
    const found = new Set<string>()
    let last = 0
    for (let at = 0; at < bytes.length; at++) {
      last = ((last << 8) | (bytes[at] ?? 0)) >>> 0
      if (isStart[last & 65535] === 0) continue
      for (const { name, form } of byStart.get(last) ?? []) {
        const from = at - 3
        if (from >= 0 && bytes.subarray(from, from + form.length).equals(form)) found.add(name)
      }
    }
    return found
  }
}

/**
 * Every form in which a program may have a secret: raw, as hexadecimal, as base64 and base64url at
 * each alignment, with or without padding; each text as one-byte and as two-byte string.
 */
export function formsOf(name: string, secret: Buffer): Map<string, readonly Buffer[]> {
  const hex = secret.toString('hex')
  const texts = new Map([
    ['hex', [hex, hex.toUpperCase()]],
    ['base64', [0, 1, 2].map((shift) => aligned(secret, shift, 'base64'))],
    ['base64url', [0, 1, 2].map((shift) => aligned(secret, shift, 'base64url'))],
  ])
  const forms = new Map<string, readonly Buffer[]>([[`${name}, raw`, [secret]]])
  for (const [form, all] of texts) {
    forms.set(
      `${name}, ${form}`,
      all.map((text) => Buffer.from(text, 'latin1')),
    )
    forms.set(
      `${name}, ${form} in UTF-16`,
      all.map((text) => Buffer.from(text, 'utf16le')),
    )
  }
  return forms
}

/** The characters that stand for the secret alone when so many bytes stand before it. */
function aligned(secret: Buffer, shift: number, encoding: 'base64' | 'base64url'): string {
  const text = Buffer.concat([Buffer.alloc(shift), secret])
    .toString(encoding)
    .replace(/=+$/, '')
  const bits = 8 * (shift + secret.length)
  // Neither the first nor the last character may hold bits of a neighbour.
  return text.slice(Math.ceil((8 * shift) / 6), Math.floor(bits / 6))
}
