// Plays the recording of the page's session, and says so where it cannot show all of it.
import { pacedDriver } from './paced-driver.js'
import { create } from './player/index.js'
import { readRecording } from './recording.js'
import { ReplayNotes } from './replay-notes.js'

const place = document.getElementById('player')
const url = place.dataset.recording
const notes = new ReplayNotes(document.getElementById('replay-notes'), url)

// What fails in the player's terminal is told by its logger; what fails while it draws, to the window.
const ignore = () => {}
const logger = { log: ignore, debug: ignore, info: ignore, warn: ignore, error: () => notes.fail() }
window.addEventListener('error', ({ error }) => {
  // Without an error, it is a notice of the browser, such as of an element that was resized twice.
  if (error) notes.fail()
})
window.addEventListener('unhandledrejection', () => notes.fail())

const parser = (response) => readRecording(response, (remark) => notes.remark(remark))
const source = { url, parser }
const options = { preload: true, poster: 'npt:0:00.2' }
create(pacedDriver(source, options, notes), place, {
  fit: 'both',
  terminalFontSize: '15px',
  controls: true,
  logger,
})
