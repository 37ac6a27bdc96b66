import { runWorker } from '../bastion/index.ts'
import { lockDown } from './lockdown.ts'

lockDown()
runWorker()
