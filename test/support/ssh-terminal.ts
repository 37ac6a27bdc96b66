import { spawn } from 'node-pty'

/** `ssh` as a person has it: on a terminal. */
export class SshTerminal {
  readonly #pty
  #shown = ''
  #seen = 0
  #ended = false
  #onShown: (() => void) | undefined
  readonly exited: Promise<number>

  /** Another program than `ssh`, with further settings, where they are given. */
  constructor(
    args: readonly string[],
    size = { cols: 80, rows: 24 },
    term = 'xterm-256color',
    { program = 'ssh', settings = {} }: { program?: string; settings?: NodeJS.ProcessEnv } = {},
  ) {
    const env = Object.fromEntries(
      Object.entries({ ...process.env, ...settings }).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value]],
      ),
    )
    const place = { cwd: process.cwd(), env, encoding: null }
    this.#pty = spawn(program, [...args], { name: term, ...size, ...place })
    this.#pty.onData((chunk) => {
      this.#shown += chunk.toString()
      this.#onShown?.()
    })
    this.exited = new Promise((done) =>
      this.#pty.onExit(({ exitCode }) => {
        this.#ended = true
        done(exitCode)
      }),
    )
  }

  /** Everything that was shown. */
  get shown(): string {
    return this.#shown
  }

  type(text: string): void {
    this.#pty.write(text)
  }

  resize(cols: number, rows: number): void {
    this.#pty.resize(cols, rows)
  }

  /** Waits until the pattern is on the screen behind what was waited for before. */
  async waitFor(pattern: RegExp, timeoutMs = 60_000): Promise<RegExpExecArray> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const found = pattern.exec(this.#shown.slice(this.#seen))
      if (found !== null) {
        this.#seen += found.index + found[0].length
        return found
      }
      if (performance.now() > deadline) {
        throw new Error(`${pattern} is not shown:\n${this.#shown.slice(-2000)}`)
      }
      await new Promise((done) => setTimeout(done, 15))
    }
  }

  /** Types one text and resolves as soon as anything is shown: without a poll in between. */
  async echo(text: string): Promise<void> {
    const shown = new Promise<void>((done) => {
      this.#onShown = done
    })
    this.type(text)
    await shown
  }

  close(): void {
    if (!this.#ended) process.kill(this.#pty.pid, 'SIGKILL')
  }
}
