/** A request of the other side on a channel. Replies leave in the order of the requests. */
export interface ChannelRequest {
  readonly name: string
  readonly payload: Buffer
  readonly wantReply: boolean
  /** Does nothing when no reply is wanted, one was given, or the channel has closed. */
  reply(success: boolean): void
}

/** Events of a channel, in the order in which the other side sent them. */
export interface ChannelHandlers {
  data(chunk: Buffer): void
  extendedData(kind: number, chunk: Buffer): void
  request(request: ChannelRequest): void
  eof(): void
  /**
   * The other side has closed, and sends no further messages. With this handler the owner sends our
   * own close, and may report the end before it; without it, our close is sent at once.
   */
  leaving?(): void
  /** The last call, exactly once. `lost`: the connection died before the other side had closed. */
  close(lost?: 'lost'): void
}
