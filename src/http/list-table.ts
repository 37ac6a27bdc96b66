import { type Html, type HtmlValue, html } from './html.ts'

/**
 * A list as a table; on a narrow screen each row is a small card with labelled values. CSS takes the roles of
 * a table away there, so they are written.
 */
export function listTable(heads: readonly string[], rows: readonly Html[]): Html {
  return html`<div class="scroll"><table role="table" class="stack">
<thead role="rowgroup"><tr role="row">${heads.map((head) => html`<th role="columnheader" scope="col">${head}</th>`)}</tr></thead>
<tbody role="rowgroup">
${rows}</tbody></table></div>`
}

export function listRow(cells: readonly Html[]): Html {
  return html`<tr role="row">\n${cells}</tr>\n`
}

/** The label is shown where there are no heads; undefined where the value says it all. */
export function cell(value: HtmlValue, label?: string): Html {
  const labelled = label === undefined ? undefined : html` data-l="${label}"`
  return html`<td role="cell"${labelled}>${value}</td>\n`
}
