/** Markup that is safe to send. Only html`` makes it. */
export class Html {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  toString(): string {
    return this.#text
  }
}

export type HtmlValue = Html | string | number | undefined | readonly HtmlValue[]

/**
 * Markup from a template. A value that is not markup is text: it is escaped for an element's
 * content or a quoted attribute. A list is its items in a row, undefined is empty.
 */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(strings.map((text, index) => text + render(values[index])).join(''))
}

function render(value: HtmlValue): string {
  if (value === undefined) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.map(render).join('')
  return escapeText(String(value))
}

const entities: { readonly [character: string]: string } = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Controls, and marks that turn text around, have no business in a label: they are shown, not obeyed. */
const unprintable = /[\p{Cc}\p{Cs}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu

function escapeText(text: string): string {
  return text
    .replace(unprintable, (character) => {
      const code = character.charCodeAt(0).toString(16)
      if (character === '\n' || character === '\t') return character
      return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`
    })
    .replace(/[&<>"']/g, (character) => entities[character] ?? '')
}
