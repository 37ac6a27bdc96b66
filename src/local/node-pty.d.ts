/** The parts of node-pty that are used. Its own types name another package. */
declare module 'node-pty' {
  export interface Pty<Data extends Buffer | string> {
    readonly pid: number
    /** The path of the terminal, such as /dev/pts/3. */
    readonly ptsName: string
    onData(listener: (data: Data) => void): void
    /** After the last data. */
    onExit(listener: (exit: { exitCode: number; signal?: number }) => void): void
    write(data: string): void
    resize(cols: number, rows: number): void
    pause(): void
    resume(): void
    kill(signal?: string): void
  }

  export interface PtyOptions {
    readonly name: string
    readonly cols: number
    readonly rows: number
    readonly cwd?: string
    readonly env?: { readonly [name: string]: string }
  }

  /** Without an encoding, output comes as bytes. */
  export function spawn(
    file: string,
    args: readonly string[],
    options: PtyOptions & { readonly encoding: null },
  ): Pty<Buffer>
  export function spawn(
    file: string,
    args: readonly string[],
    options: PtyOptions & { readonly encoding: 'utf8' },
  ): Pty<string>
}
