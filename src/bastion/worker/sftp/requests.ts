import { createHash } from 'node:crypto'
import type { Reader } from '../../../ssh/index.ts'
import type { FileOperation } from '../../wire/calls.ts'
import { SftpUnreadable } from '../errors.ts'
import type { AnswerShape } from './answers.ts'
import { readAttributes, readExtensionName, readHandle, readPath, requestType } from './packet.ts'

/** An operation on names, with its fields for the log. */
export type Act = Omit<FileOperation, 'number' | 'code'>

/** A request of a client, after its id. */
export type Request = { readonly answer: AnswerShape } & (
  | { readonly ask: 'open'; readonly act: Act }
  | { readonly ask: 'close'; readonly handle: string }
  | { readonly ask: 'read'; readonly handle: string; readonly offset: bigint; readonly max: number }
  | { readonly ask: 'list'; readonly handle: string }
  | { readonly ask: 'act'; readonly act: Act }
  | { readonly ask: 'actOn'; readonly handle: string; readonly act: Act }
  | { readonly ask: 'copy'; readonly from: string; readonly to: string }
  | { readonly ask: 'look' }
)

/** The flags of an OPEN: section 6.3 of the draft. */
const openFlags = [
  [0x01, 'read'],
  [0x02, 'write'],
  [0x04, 'append'],
  [0x08, 'creat'],
  [0x10, 'trunc'],
  [0x20, 'excl'],
] as const

/**
 * Reads a request to its last byte. Throws SftpUnreadable, or WireError, for any that version 3 does
 * not have: it could do something that the log does not tell.
 */
export function readRequest(type: number, reader: Reader): Request {
  const request = readFields(type, reader)
  reader.end()
  return request
}

function readFields(type: number, reader: Reader): Request {
  switch (type) {
    case requestType.open: {
      const path = readPath(reader)
      const act: Act = { op: 'open', path, flags: readOpenFlags(reader), ...set(reader) }
      return { ask: 'open', answer: 'handle', act }
    }
    case requestType.opendir:
      return { ask: 'open', answer: 'handle', act: { op: 'list', path: readPath(reader) } }
    case requestType.close:
      return { ask: 'close', answer: 'status', handle: readHandle(reader) }
    case requestType.read: {
      const handle = readHandle(reader)
      return { ask: 'read', answer: 'data', handle, offset: reader.u64(), max: reader.u32() }
    }
    case requestType.readdir:
      return { ask: 'list', answer: 'names', handle: readHandle(reader) }
    case requestType.lstat:
    case requestType.stat:
      readPath(reader)
      return { ask: 'look', answer: 'attributes' }
    case requestType.fstat:
      readHandle(reader)
      return { ask: 'look', answer: 'attributes' }
    case requestType.realpath:
      return { ask: 'act', answer: 'name', act: { op: 'realpath', path: readPath(reader) } }
    case requestType.readlink:
      return { ask: 'act', answer: 'name', act: { op: 'readlink', path: readPath(reader) } }
    case requestType.setstat:
      return withAttributes('setstat', reader)
    case requestType.mkdir:
      return withAttributes('mkdir', reader)
    case requestType.fsetstat: {
      const handle = readHandle(reader)
      return { ask: 'actOn', answer: 'status', handle, act: { op: 'setstat', ...set(reader) } }
    }
    case requestType.remove:
      return { ask: 'act', answer: 'status', act: { op: 'remove', path: readPath(reader) } }
    case requestType.rmdir:
      return { ask: 'act', answer: 'status', act: { op: 'rmdir', path: readPath(reader) } }
    case requestType.rename:
      return withSecond('rename', reader)
    case requestType.symlink:
      return withSecond('symlink', reader)
    case requestType.extended:
      return readExtended(reader)
    default:
      throw new SftpUnreadable(`a request ${type}`)
  }
}

/** Extended requests: OpenSSH's PROTOCOL section 4, and draft-ietf-secsh-filexfer-extensions-00. */
function readExtended(reader: Reader): Request {
  const extension = readExtensionName(reader)
  switch (extension) {
    case 'posix-rename@openssh.com':
      return withSecond('rename', reader, extension)
    case 'hardlink@openssh.com':
      return withSecond('hardlink', reader, extension)
    case 'lsetstat@openssh.com':
      return withAttributes('setstat', reader, extension)
    case 'fsync@openssh.com': {
      const act = { op: 'fsync', extension } as const
      return { ask: 'actOn', answer: 'status', handle: readHandle(reader), act }
    }
    case 'copy-data': {
      const from = readHandle(reader)
      // An offset and a length.
      reader.bytes(16)
      const to = readHandle(reader)
      reader.u64()
      return { ask: 'copy', answer: 'status', from, to }
    }
    case 'statvfs@openssh.com': {
      const act = { op: 'extended', extension, path: readPath(reader) } as const
      return { ask: 'act', answer: 'statvfs', act }
    }
    case 'fstatvfs@openssh.com': {
      const act = { op: 'extended', extension } as const
      return { ask: 'actOn', answer: 'statvfs', handle: readHandle(reader), act }
    }
    case 'limits@openssh.com':
      return { ask: 'act', answer: 'limits', act: { op: 'extended', extension } }
    case 'expand-path@openssh.com':
    case 'home-directory': {
      const act = { op: 'realpath', extension, path: readPath(reader) } as const
      return { ask: 'act', answer: 'name', act }
    }
    case 'users-groups-by-id@openssh.com':
      return withPayload(extension, 'groups', reader)
    case 'version-select':
      // All later packets would be in a version that the watch cannot read.
      throw new SftpUnreadable('a request for a version other than 3')
    default:
      return withPayload(extension, 'any', reader)
  }
}

function readOpenFlags(reader: Reader): NonNullable<FileOperation['flags']> {
  const flags = reader.u32()
  const named = openFlags.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name)
  return flags > 0x3f ? [...named, 'other'] : named
}

function withSecond(op: FileOperation['op'], reader: Reader, extension?: string): Request {
  const act = { op, path: readPath(reader), to: readPath(reader), ...(extension && { extension }) }
  return { ask: 'act', answer: 'status', act }
}

function withAttributes(op: FileOperation['op'], reader: Reader, extension?: string): Request {
  const act = { op, path: readPath(reader), ...set(reader), ...(extension && { extension }) }
  return { ask: 'act', answer: 'status', act }
}

/** A size cuts a file as O_TRUNC does, and a mode may make a program run as root: both are logged. */
function set(reader: Reader): Pick<Act, 'attributes'> {
  const attributes = readAttributes(reader)
  return attributes.length > 0 ? { attributes } : {}
}

/** The payload may have any contents: its digest is logged. */
function withPayload(extension: string, answer: AnswerShape, reader: Reader): Request {
  const payload = reader.bytes(reader.left)
  const sha256 = createHash('sha256').update(payload).digest('hex')
  const act = { op: 'extended', extension, bytes: payload.length, sha256 } as const
  return { ask: 'act', answer, act }
}
