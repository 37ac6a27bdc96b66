import { createHash } from 'node:crypto'
import type { Reader } from '../../../ssh/index.ts'
import { SftpUnreadable } from '../errors.ts'
import { answerType, readAttributes, readHandle, readName, readStatus } from './packet.ts'

/** The answer that a request allows, beside a STATUS, which each of them may get. */
export type AnswerShape =
  | 'status'
  | 'handle'
  | 'data'
  | 'names'
  | 'name'
  | 'attributes'
  | 'statvfs'
  | 'limits'
  | 'groups'
  | 'any'

/** The contents of an answer. DATA is not read here, because it may come in parts. */
export interface Answer {
  /** The SFTP status; 0 where the answer is another one, for success. */
  readonly code: number
  readonly handle?: string
  /** The one path in it. */
  readonly path?: Buffer
  /** The digest of an extended reply of unknown shape. */
  readonly reply?: { readonly bytes: number; readonly sha256: string }
}

const typeOf: { readonly [shape in AnswerShape]: number } = {
  status: answerType.status,
  handle: answerType.handle,
  data: answerType.data,
  names: answerType.name,
  name: answerType.name,
  attributes: answerType.attrs,
  statvfs: answerType.extended,
  limits: answerType.extended,
  groups: answerType.extended,
  any: answerType.extended,
}
const names = new Map<number, string>(
  Object.entries(answerType).map(([name, type]) => [type, name.toUpperCase()]),
)

/** Eleven numbers of eight bytes each, and four: OpenSSH's PROTOCOL sections 4.4 and 4.8. */
const statvfsBytes = 88
const limitsBytes = 32

/** Throws SftpUnreadable where the request allows no answer of this type. */
export function requireAllowed(type: number, shape: AnswerShape): void {
  if (type === answerType.status || type === typeOf[shape]) return
  const name = names.get(type) ?? `of type ${type}`
  throw new SftpUnreadable(`an answer ${name} to a request that does not allow it`)
}

/** Reads an answer to its last byte. Throws SftpUnreadable, or WireError. */
export function readAnswer(type: number, shape: AnswerShape, reader: Reader): Answer {
  const answer = type === answerType.status ? { code: readStatus(reader) } : read(shape, reader)
  reader.end()
  return answer
}

function read(shape: AnswerShape, reader: Reader): Answer {
  const done = { code: 0 }
  switch (shape) {
    case 'handle':
      return { code: 0, handle: readHandle(reader) }
    case 'name':
      if (reader.u32() !== 1) throw new SftpUnreadable('more or fewer names than the one asked for')
      return { code: 0, path: readName(reader) }
    case 'names': {
      const count = reader.u32()
      for (let at = 0; at < count; at++) readName(reader)
      return done
    }
    case 'attributes':
      readAttributes(reader)
      return done
    case 'statvfs':
      reader.bytes(statvfsBytes)
      return done
    case 'limits':
      reader.bytes(limitsBytes)
      return done
    case 'groups':
      reader.string()
      reader.string()
      return done
    case 'any': {
      const payload = reader.bytes(reader.left)
      const sha256 = createHash('sha256').update(payload).digest('hex')
      return { code: 0, reply: { bytes: payload.length, sha256 } }
    }
    case 'status':
    case 'data':
      throw new SftpUnreadable('an answer that its request does not allow')
  }
}
