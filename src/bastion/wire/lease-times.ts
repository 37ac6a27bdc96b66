/**
 * Until when a node may serve, by bootClockMs(), which all processes of a machine share. So a
 * worker keeps to it even when its main process stands still.
 */
export interface LeaseTimes {
  /** From then on sessions end, each with a line for its user. */
  readonly serveUntilMs: number
  /** By then all of them have ended. */
  readonly stopAtMs: number
}
