/** Control and format characters, line ends, lone surrogates: they move, hide or reorder text. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu
/** The same without the line ends that JSON.stringify writes. */
const unsafeInJson = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/**
 * Makes text from outside safe to print as one line: characters that a terminal would obey are
 * escaped (`\x1b`, `\u{202e}`). Every name from people or peers goes through here.
 */
export function printable(text: string): string {
  return text.replace(unsafe, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${hex(code, 2)}` : `\\u{${code.toString(16)}}`
  })
}

/** Formats a value as JSON that is safe to print on a terminal and parses to the same value. */
export function printableJson(value: unknown): string {
  return escapeJson(JSON.stringify(value, null, 2) ?? 'null')
}

/** Makes JSON, or lines of it, safe to print on a terminal. It parses to the same. */
export function escapeJson(text: string): string {
  // Only strings can hold such characters, and there an escape means the same.
  return text.replace(unsafeInJson, (character) =>
    character
      .split('')
      .map((unit) => `\\u${hex(unit.charCodeAt(0), 4)}`)
      .join(''),
  )
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0')
}
