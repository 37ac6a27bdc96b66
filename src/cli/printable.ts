/** Control and format characters, line ends, lone surrogates: what moves, hides or reorders text. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu
/** The same, but for what JSON.stringify has written for its own layout. */
const unsafeInJson = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/**
 * Text from elsewhere as one line that a terminal only shows: whatever it could act on is written
 * out (`\x1b`, `\u{202e}`). Everything that people or peers have named goes through here.
 */
export function printable(text: string): string {
  return text.replace(unsafe, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${hex(code, 2)}` : `\\u{${code.toString(16)}}`
  })
}

/** A document of JSON that reads back as the same value and that a terminal only shows. */
export function printableJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2) ?? 'null'
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
