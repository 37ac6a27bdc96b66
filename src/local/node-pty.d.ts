/** The parts of node-pty that are used. Its own types name another package. */
declare module 'node-pty' {
  export interface Pty {
    readonly pid: number
    onData(listener: (data: Buffer) => void): void
    /** After the last data. */
    onExit(listener: (exit: { exitCode: number; signal?: number }) => void): void
    write(data: string): void
    resize(cols: number, rows: number): void
    pause(): void
    resume(): void
  }

  export interface PtyOptions {
    readonly name: string
    readonly cols: number
    readonly rows: number
    readonly cwd: string
    readonly env: { readonly [name: string]: string }
    /** null: bytes. */
    readonly encoding: null
  }

  export function spawn(file: string, args: readonly string[], options: PtyOptions): Pty
}
