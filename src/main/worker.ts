import { runWorker } from '../bastion/worker/index.ts'
import { lockDown } from './lockdown.ts'

lockDown()
runWorker()
