import { type Reader, Writer } from '../wire.ts'

/** Message numbers of the connection protocol, and of its companions: RFC 4250 section 4.1.2. */
export const message = {
  disconnect: 1,
  ignore: 2,
  globalRequest: 80,
  requestSuccess: 81,
  requestFailure: 82,
  channelOpen: 90,
  channelOpenConfirmation: 91,
  channelOpenFailure: 92,
  channelWindowAdjust: 93,
  channelData: 94,
  channelExtendedData: 95,
  channelEof: 96,
  channelClose: 97,
  channelRequest: 98,
  channelSuccess: 99,
  channelFailure: 100,
} as const

/** Why a channel was not opened: RFC 4254 section 5.1. */
export const openFailure = {
  administrativelyProhibited: 1,
  connectFailed: 2,
  unknownChannelType: 3,
  resourceShortage: 4,
} as const

/** Why a connection was ended: RFC 4253 section 11.1. */
export const disconnectReason = {
  protocolError: 2,
  connectionLost: 10,
  byApplication: 11,
  tooManyConnections: 12,
} as const

/** The terms of one side for a channel when it is opened. */
export interface ChannelTerms {
  readonly sender: number
  readonly window: number
  readonly packetMax: number
}

export function encodeOpen(type: string, terms: ChannelTerms, payload: Buffer): Buffer {
  return new Writer()
    .u8(message.channelOpen)
    .text(type)
    .u32(terms.sender)
    .u32(terms.window)
    .u32(terms.packetMax)
    .bytes(payload)
    .build()
}

export function encodeOpenConfirmation(recipient: number, terms: ChannelTerms): Buffer {
  return new Writer()
    .u8(message.channelOpenConfirmation)
    .u32(recipient)
    .u32(terms.sender)
    .u32(terms.window)
    .u32(terms.packetMax)
    .build()
}

export function encodeOpenFailure(recipient: number, reason: number, text: string): Buffer {
  return new Writer()
    .u8(message.channelOpenFailure)
    .u32(recipient)
    .u32(reason)
    .text(text)
    .text('')
    .build()
}

export function readTerms(reader: Reader): ChannelTerms {
  return { sender: reader.u32(), window: reader.u32(), packetMax: reader.u32() }
}

export function encodeChannelRequest(
  recipient: number,
  name: string,
  wantReply: boolean,
  payload: Buffer,
): Buffer {
  return new Writer()
    .u8(message.channelRequest)
    .u32(recipient)
    .text(name)
    .boolean(wantReply)
    .bytes(payload)
    .build()
}

export function encodeGlobalRequest(name: string, wantReply: boolean, payload: Buffer): Buffer {
  return new Writer().u8(message.globalRequest).text(name).boolean(wantReply).bytes(payload).build()
}

/** A message whose only field is its channel. */
export function encodeForChannel(number: number, recipient: number): Buffer {
  return new Writer().u8(number).u32(recipient).build()
}

export function encodeWindowAdjust(recipient: number, bytes: number): Buffer {
  return new Writer().u8(message.channelWindowAdjust).u32(recipient).u32(bytes).build()
}

export function encodeDisconnect(reason: number, text: string): Buffer {
  return new Writer().u8(message.disconnect).u32(reason).text(text).text('').build()
}

/** Ignored by its receiver: RFC 4253 section 11.2. */
export function encodeIgnore(): Buffer {
  return new Writer().u8(message.ignore).text('').build()
}

/** A request's name, whether it wants a reply, and the rest, which depends on the name. */
export function readRequest(reader: Reader): {
  readonly name: string
  readonly wantReply: boolean
  readonly payload: Buffer
} {
  const name = reader.string().toString('latin1')
  // RFC 4251 section 5: any value but 0 is true, and some clients send 0xff.
  const wantReply = reader.u8() !== 0
  return { name, wantReply, payload: reader.bytes(reader.left) }
}
