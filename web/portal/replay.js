// Plays the recording of the page's session.
import { create } from './player/index.js'

const place = document.getElementById('player')
create(place.dataset.recording, place, {
  fit: 'both',
  terminalFontSize: '15px',
  idleTimeLimit: 2,
  preload: true,
  poster: 'npt:0:00.2',
  controls: true,
})
