import { Writer } from '../../src/ssh/wire.ts'
import { boundaries, byteBoundaries, type Random } from './random.ts'

/** A part of a message. What is nested is the string of these. */
export type Field =
  | { readonly is: 'byte' | 'number'; readonly value: number }
  | { readonly is: 'string' | 'bytes'; readonly value: Buffer }
  | { readonly is: 'nested'; readonly fields: readonly Field[] }

export interface Message {
  readonly name: string
  readonly fields: readonly Field[]
}

/** One thing done to a message of one shape. */
export interface Tampering {
  readonly name: string
  apply(message: Message): Buffer
}

export const byte = (value: number): Field => ({ is: 'byte', value })
export const yes = byte(1)
export const no = byte(0)
export const u32 = (value: number): Field => ({ is: 'number', value })
export const bytes = (value: Buffer): Field => ({ is: 'bytes', value })
export const string = (value: Buffer | string): Field => ({
  is: 'string',
  value: Buffer.from(value),
})
export const nested = (...fields: readonly Field[]): Field => ({ is: 'nested', fields })
export const message = (name: string, number: number, ...fields: readonly Field[]): Message => ({
  name,
  fields: [byte(number), ...fields],
})

/** The message as it should be. */
export function encode({ fields }: Message): Buffer {
  return encodeFields(fields, undefined, 0).bytes
}

/** Every integer and every string's length at every boundary, and every byte but the number's. */
export function tamperings(shape: Message): Tampering[] {
  const places = placesOf(shape.fields)
  return places.slice(1).flatMap((is, index) =>
    (is === 'byte' ? byteBoundaries : boundaries).map((value) => ({
      name: `${shape.name}: ${is} ${index + 1} = ${value}`,
      apply: ({ fields }) => encodeFields(fields, { place: index + 1, value }, 0).bytes,
    })),
  )
}

/** Something else done to the bytes of a message, or nothing. */
export function mutate(random: Random, payload: Buffer): Buffer {
  const at = random.int(payload.length)
  const changed = Buffer.from(payload)
  switch (random.int(8)) {
    case 0:
      if (payload.length > 0) changed[at] = (changed[at] ?? 0) ^ (1 << random.int(8))
      return changed
    case 1:
      return changed.subarray(0, at)
    case 2:
      return Buffer.concat([changed, random.bytes(random.int(64))])
    case 3:
      if (payload.length >= 4)
        changed.writeUInt32BE(random.pick(boundaries), random.int(payload.length - 3))
      return changed
    case 4:
      return Buffer.concat([changed.subarray(0, at), random.bytes(4), changed.subarray(at)])
    case 5:
      return Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1 + random.int(8))])
    case 6:
      if (payload.length > 0) changed[0] = random.int(256)
      return changed
    default:
      return changed
  }
}

function placesOf(fields: readonly Field[]): ('byte' | 'number' | 'length')[] {
  return fields.flatMap((field) => {
    if (field.is === 'nested') return ['length' as const, ...placesOf(field.fields)]
    if (field.is === 'string') return ['length' as const]
    return field.is === 'bytes' ? [] : [field.is]
  })
}

interface Tampered {
  readonly place: number
  readonly value: number
}

function encodeFields(fields: readonly Field[], tampered: Tampered | undefined, from: number) {
  const writer = new Writer()
  let place = from
  /** The number that belongs here, or the one that was put in its place. */
  const here = (value: number) => (tampered?.place === place++ ? tampered.value : value)
  for (const field of fields) {
    switch (field.is) {
      case 'byte':
        writer.u8(here(field.value))
        break
      case 'number':
        writer.u32(here(field.value))
        break
      case 'bytes':
        writer.bytes(field.value)
        break
      case 'string':
        writer.u32(here(field.value.length)).bytes(field.value)
        break
      case 'nested': {
        const own = place++
        const inner = encodeFields(field.fields, tampered, place)
        place = inner.place
        writer.u32(tampered?.place === own ? tampered.value : inner.bytes.length)
        writer.bytes(inner.bytes)
      }
    }
  }
  return { bytes: writer.build(), place }
}
