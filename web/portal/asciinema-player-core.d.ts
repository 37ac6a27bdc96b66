/** The part of asciinema-player that plays, without its controls. The package has no types of it. */
declare module 'asciinema-player-core' {
  export interface CoreSource {
    readonly data: () => Response
    readonly parser: (response: Response) => Promise<object>
  }
  export interface CoreOptions {
    readonly preload?: boolean
    /** `npt:` and seconds: the picture before the first play. */
    readonly poster?: string
    readonly startAt?: number
    readonly speed?: number
    readonly logger?: unknown
  }
  export type Where = number | string | { readonly marker: number | 'prev' | 'next' }
  export interface Driver {
    init(): Promise<void>
    play(): Promise<void>
    pause(): Promise<void>
    seek(where: Where): Promise<boolean>
    step(count?: number): Promise<void>
    stop(): Promise<void>
    /** Seconds. */
    getDuration(): number | undefined
    getCurrentTime(): number
  }
  export class C implements Driver {
    constructor(source: CoreSource, options: CoreOptions)
    terminalReady(): void
    addEventListener(name: string, listener: (data: unknown) => void): void
    init(): Promise<void>
    play(): Promise<void>
    pause(): Promise<void>
    seek(where: Where): Promise<boolean>
    step(count?: number): Promise<void>
    stop(): Promise<void>
    getDuration(): number | undefined
    getCurrentTime(): number
  }
}
