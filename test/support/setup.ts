import { inject } from 'vitest'
import { useBegunHomes } from './begun-homes.ts'
import { useRsaKeys } from './rsa-keys.ts'

useRsaKeys(inject('rsaKeys'))
useBegunHomes(inject('begunHomes'))
