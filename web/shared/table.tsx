import type { ComponentChildren } from 'preact'

/** The heads of a stacked table: its text, and the class of its column. */
export type Head = readonly [text: string, kind?: string]

// biome-ignore-start lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.

/** A table; as small cards on a narrow screen, which takes the roles away from it. The last column has the acts. */
export function StackedTable(props: {
  readonly caption: string
  readonly heads: readonly Head[]
  readonly act: string
  readonly children: ComponentChildren
}) {
  return (
    <div class="scroll">
      <table role="table" class="stack">
        <caption class="hide">{props.caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {props.heads.map(([text, kind]) => (
              <th key={text} role="columnheader" scope="col" class={kind}>
                {text}
              </th>
            ))}
            <th role="columnheader" scope="col" class="act">
              <span class="hide">{props.act}</span>
            </th>
          </tr>
        </thead>
        <tbody role="rowgroup">{props.children}</tbody>
      </table>
    </div>
  )
}

/** One row of it. `data` are attributes to find it by. */
export function Row(props: {
  readonly isChosen?: boolean
  readonly data?: { readonly [name: `data-${string}`]: string }
  readonly children: ComponentChildren
}) {
  return (
    <tr role="row" class={props.isChosen ? 'on' : undefined} {...props.data}>
      {props.children}
    </tr>
  )
}

/** One cell. A small card shows `head` before it; the cell that names the row has none. */
export function Cell(props: {
  readonly kind?: 'fit' | 'cut' | 'r' | 'act'
  readonly head?: string
  readonly children: ComponentChildren
}) {
  return (
    <td role="cell" class={props.kind} data-l={props.head}>
      {props.children}
    </td>
  )
}
// biome-ignore-end lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
