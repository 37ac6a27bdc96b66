// Times are sent as UTC; whoever reads the page sees them in their own zone, and UTC on hover.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

for (const element of document.querySelectorAll('time[datetime]')) {
  const at = new Date(element.dateTime)
  if (Number.isNaN(at.getTime())) continue
  element.title = element.textContent
  element.textContent = format.format(at)
}
