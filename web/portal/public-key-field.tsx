import { type Signal, useSignal } from '@preact/signals'
import type { RefObject } from 'preact'
import { useRef } from 'preact/hooks'
import { texts } from './security-texts.ts'

const { wrong, dialog } = texts.keys
const types =
  /^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)\s/

/** Longer than any line of a public key that the server takes. */
const fileBytesMax = 16_384

export interface PublicKey {
  readonly area: RefObject<HTMLTextAreaElement | null>
  readonly wrong: Signal<string | undefined>
  /** The line, if it may be a public key. Otherwise the field says what is wrong. */
  read(): string | undefined
  /** Puts the line of a file into the field. */
  take(file: File | undefined): Promise<void>
}

/** A field for one line of a .pub file. */
export function usePublicKey(): PublicKey {
  const area = useRef<HTMLTextAreaElement>(null)
  const problem = useSignal<string | undefined>(undefined)
  return {
    area,
    wrong: problem,
    read() {
      const line = area.current?.value.trim() ?? ''
      problem.value = problemOfLine(line)
      if (problem.value === undefined) return line
      // A secret does not stay in a field.
      if (!isPublic(line) && area.current !== null) area.current.value = ''
      area.current?.focus()
      return undefined
    },
    async take(file) {
      if (file === undefined || area.current === null) return
      if (file.size > fileBytesMax) {
        problem.value = wrong.large
        return
      }
      const line = (await file.text()).trim()
      problem.value = problemOfLine(line)
      // What is no public key is not put on the page either.
      area.current.value = problem.value === undefined ? line : ''
    },
  }
}

/** Its place on the page. */
export function PublicKeyField(props: {
  readonly id: string
  readonly publicKey: PublicKey
  readonly rows: number
  readonly help?: string
  readonly onInput?: (line: string) => void
}) {
  const { id, publicKey, rows, help, onInput } = props
  const { area, wrong } = publicKey
  return (
    <>
      <label for={id}>{dialog.line}</label>
      <textarea
        ref={area}
        id={id}
        name="line"
        rows={rows}
        spellcheck={false}
        autocomplete="off"
        aria-invalid={wrong.value !== undefined}
        aria-describedby={help === undefined ? `${id}-wrong` : `${id}-help ${id}-wrong`}
        onInput={(event) => onInput?.(event.currentTarget.value)}
      />
      {help !== undefined && (
        <p class="help" id={`${id}-help`}>
          {help}
        </p>
      )}
      <p class="wrong" id={`${id}-wrong`} role="status">
        {wrong.value ?? ''}
      </p>
    </>
  )
}

/**
 * What is wrong with a text that should be one line of a .pub file; undefined if it may be one. It is asked
 * before anything is sent: a private key that somebody pastes by mistake does not leave the browser. The
 * server has the last word.
 */
function problemOfLine(text: string): string | undefined {
  const line = text.trim()
  if (line === '') return wrong.empty
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(line)) return wrong.private
  if (/^PuTTY-User-Key-File-\d/m.test(line)) return wrong.putty
  // The fields of private keys, should somebody paste only the middle: OpenSSH's begins with this magic.
  if (line.startsWith('b3BlbnNzaC1rZXktdjE')) return wrong.private
  if (/[\r\n]/.test(line)) return wrong.several
  return types.test(line) ? undefined : wrong.none
}

/** Whether each line is a public key. Anything else may be part of a private one, and does not stay on the page. */
function isPublic(text: string): boolean {
  return text.split(/[\r\n]+/).every((line) => line.trim() === '' || types.test(line.trim()))
}
