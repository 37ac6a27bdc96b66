import { Writer } from '../../../../src/ssh/wire.ts'

/** Packets of SFTP version 3, as clients and servers write them. */
export const packet = (type: number, build: (writer: Writer) => Writer): Buffer =>
  new Writer().string(build(new Writer().u8(type)).build()).build()
export const message = (
  type: number,
  id: number,
  build: (writer: Writer) => Writer = (writer) => writer,
) => packet(type, (writer) => build(writer.u32(id)))

export const init = (version = 3) => packet(1, (writer) => writer.u32(version))
export const version = (number = 3) =>
  packet(2, (writer) => writer.u32(number).text('limits@openssh.com').text('1'))
export const open = (id: number, path: string | Buffer, flags = 1) =>
  message(3, id, (writer) => writer.string(Buffer.from(path)).u32(flags).u32(0))
export const close = (id: number, handle: string) => message(4, id, (writer) => writer.text(handle))
export const read = (id: number, handle: string, offset: number, length: number) =>
  message(5, id, (writer) => writer.text(handle).u64(BigInt(offset)).u32(length))
export const write = (id: number, handle: string, offset: number, data: Buffer) =>
  message(6, id, (writer) => writer.text(handle).u64(BigInt(offset)).string(data))
export const remove = (id: number, path: string | Buffer) =>
  message(13, id, (writer) => writer.string(Buffer.from(path)))
export const extended = (
  id: number,
  name: string,
  build: (writer: Writer) => Writer = (writer) => writer,
) => message(200, id, (writer) => build(writer.text(name)))

export const status = (id: number, code = 0, text = '') =>
  message(101, id, (writer) => writer.u32(code).text(text).text(''))
export const handle = (id: number, name: string) => message(102, id, (writer) => writer.text(name))
export const data = (id: number, bytes: Buffer) =>
  message(103, id, (writer) => writer.string(bytes))
export const names = (id: number, ...paths: string[]) =>
  message(104, id, (writer) =>
    paths.reduce((all, path) => all.text(path).text('').u32(0), writer.u32(paths.length)),
  )
