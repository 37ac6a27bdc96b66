import { printable } from './printable.ts'

/** Combining and wide characters, as far as the alignment of columns needs them. */
const zeroWidth = /\p{M}/u
const doubleWidth =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u

export interface Column<Row> {
  readonly title: string
  readonly value: (row: Row) => string
  readonly align?: 'right'
}

/** Rows under their titles, aligned. Values are made printable here. */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): readonly string[] {
  const cells = rows.map((row) => columns.map(({ value }) => printable(value(row))))
  const lines = [columns.map(({ title }) => title), ...cells]
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => width(line[at] ?? ''))))
  return lines.map((line) =>
    line
      .map((cell, at) => pad(cell, widths[at] ?? 0, columns[at]?.align))
      .join('  ')
      .trimEnd(),
  )
}

/** Names and values below each other. Values are made printable here. */
export function formatFields(fields: readonly (readonly [string, string])[]): readonly string[] {
  const longest = Math.max(...fields.map(([name]) => width(name)))
  return fields.map(([name, value]) => `${pad(name, longest)}  ${printable(value)}`.trimEnd())
}

function pad(cell: string, to: number, align?: 'right'): string {
  const space = ' '.repeat(Math.max(0, to - width(cell)))
  return align === 'right' ? space + cell : cell + space
}

function width(text: string): number {
  let cells = 0
  for (const character of text) {
    cells += zeroWidth.test(character) ? 0 : doubleWidth.test(character) ? 2 : 1
  }
  return cells
}
