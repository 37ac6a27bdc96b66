import type { Reader } from '../../../ssh/index.ts'
import { SftpUnreadable } from '../errors.ts'

/** Numbers of requests: draft-ietf-secsh-filexfer-02 section 3. */
export const requestType = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const

/** Numbers of answers, in the same place. */
export const answerType = {
  version: 2,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 201,
} as const

/** The version that VaultTerm can read. Later ones have other fields in most packets. */
export const sftpVersion = 3

/** PATH_MAX of Linux: no longer path reaches a file there. */
export const pathBytesMax = 4096
/** OpenSSH, section 9.4 of its draft: a handle must not be longer. */
const handleBytesMax = 256
const extensionsMax = 64
const extensionNameBytesMax = 128
const extensionDataBytesMax = 4096
/** Names of a directory come with the line that `ls -l` would print. */
const longNameBytesMax = 16_384
const statusTextBytesMax = 1024

const attribute = { size: 0x1, owner: 0x2, permissions: 0x4, times: 0x8, extended: 0x8000_0000 }

/** The raw bytes of a path, in memory of its own. */
export function readPath(reader: Reader): Buffer {
  const path = reader.string()
  if (path.length > pathBytesMax) throw new SftpUnreadable(`a path of ${path.length} bytes`)
  // The target may stop reading there, and open another file than the log names.
  if (path.includes(0)) throw new SftpUnreadable('a path with a NUL byte')
  return Buffer.from(path)
}

export function readHandle(reader: Reader): string {
  const handle = reader.string()
  if (handle.length > handleBytesMax) throw new SftpUnreadable('a handle that is too long')
  return handle.toString('latin1')
}

/** Reads the attributes of a file, each as the log shows it: section 5 of the draft. */
export function readAttributes(reader: Reader): readonly string[] {
  const attributes: string[] = []
  const number = (name: string) => attributes.push(`${name}=${reader.u32()}`)
  const flags = reader.u32()
  const known = Object.values(attribute).reduce((all, flag) => all | flag, 0)
  if ((flags & ~known) !== 0) throw new SftpUnreadable('attributes that version 3 does not have')
  if (flags & attribute.size) attributes.push(`size=${reader.u64()}`)
  if (flags & attribute.owner) ['uid', 'gid'].forEach(number)
  if (flags & attribute.permissions) attributes.push(`mode=${reader.u32().toString(8)}`)
  if (flags & attribute.times) ['atime', 'mtime'].forEach(number)
  if (flags & attribute.extended) {
    const count = reader.u32()
    if (count > extensionsMax) throw new SftpUnreadable('too many extended attributes')
    for (let at = 0; at < count; at++) skipExtension(reader)
    attributes.push(`extended=${count}`)
  }
  return attributes
}

/** Reads over the extensions at the end of INIT and VERSION. */
export function skipExtensions(reader: Reader): void {
  for (let count = 0; reader.left > 0; count++) {
    if (count >= extensionsMax) throw new SftpUnreadable('too many extensions')
    skipExtension(reader)
  }
}

function skipExtension(reader: Reader): void {
  readExtensionName(reader)
  const data = reader.string()
  if (data.length > extensionDataBytesMax) throw new SftpUnreadable('an extension that is too long')
}

export function readExtensionName(reader: Reader): string {
  const name = reader.string().toString('latin1')
  if (name.length > extensionNameBytesMax || !/^[\x21-\x7e]+$/.test(name)) {
    throw new SftpUnreadable('an extension without a printable name')
  }
  return name
}

/** One entry of a NAME answer: answers with its path. */
export function readName(reader: Reader): Buffer {
  const name = readPath(reader)
  if (reader.string().length > longNameBytesMax) throw new SftpUnreadable('a name that is too long')
  readAttributes(reader)
  return name
}

/** Answers with the code, 0 for success. Some servers leave out the message and its language. */
export function readStatus(reader: Reader): number {
  const code = reader.u32()
  for (let texts = 0; texts < 2 && reader.left > 0; texts++) {
    if (reader.string().length > statusTextBytesMax) {
      throw new SftpUnreadable('a status with a message that is too long')
    }
  }
  return code
}
