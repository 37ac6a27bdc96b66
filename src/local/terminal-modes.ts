import { Reader, WireError } from '../ssh/index.ts'

const characters: ReadonlyMap<number, string> = new Map([
  [1, 'intr'],
  [2, 'quit'],
  [3, 'erase'],
  [4, 'kill'],
  [5, 'eof'],
  [6, 'eol'],
  [7, 'eol2'],
  [8, 'start'],
  [9, 'stop'],
  [10, 'susp'],
  [12, 'rprnt'],
  [13, 'werase'],
  [14, 'lnext'],
])

const flags: ReadonlyMap<number, string> = new Map([
  [30, 'ignpar'],
  [31, 'parmrk'],
  [32, 'inpck'],
  [33, 'istrip'],
  [34, 'inlcr'],
  [35, 'igncr'],
  [36, 'icrnl'],
  [38, 'ixon'],
  [39, 'ixany'],
  [40, 'ixoff'],
  [41, 'imaxbel'],
  [42, 'iutf8'],
  [50, 'isig'],
  [51, 'icanon'],
  [53, 'echo'],
  [54, 'echoe'],
  [55, 'echok'],
  [56, 'echonl'],
  [57, 'noflsh'],
  [58, 'tostop'],
  [59, 'iexten'],
  [60, 'echoctl'],
  [61, 'echoke'],
  [70, 'opost'],
  [72, 'onlcr'],
  [73, 'ocrnl'],
  [74, 'onocr'],
  [75, 'onlret'],
  [90, 'cs7'],
  [91, 'cs8'],
  [92, 'parenb'],
  [93, 'parodd'],
])

/** A character that is switched off: RFC 4254 section 8. */
const disabled = 255
const argumentsMax = 128

/**
 * Converts the encoded terminal modes of RFC 4254 section 8 into arguments of `stty`, since Node cannot
 * set them. Unknown modes are left out, as OpenSSH does.
 */
export function sttyArguments(modes: Buffer): string[] {
  const reader = new Reader(modes)
  const settings: string[] = []
  try {
    while (reader.left > 0 && settings.length < argumentsMax) {
      const opcode = reader.u8()
      // 0 ends the list; from 160 on, the form of the value is not defined.
      if (opcode === 0 || opcode >= 160) break
      settings.push(...settingOf(opcode, reader.u32()))
    }
  } catch (err) {
    // Of modes that end too early, the first ones count: a terminal is better than none.
    if (!(err instanceof WireError)) throw err
  }
  return settings
}

function settingOf(opcode: number, value: number): string[] {
  const character = characters.get(opcode)
  if (character !== undefined) {
    return [character, formatCharacter(value)]
  }
  const flag = flags.get(opcode)
  if (flag === undefined) return []
  // A size of characters is chosen, not switched off.
  if (flag.startsWith('cs')) return value === 0 ? [] : [flag]
  return [value === 0 ? `-${flag}` : flag]
}

/** `stty` would read a number of one digit as that digit. */
function formatCharacter(value: number): string {
  if (value >= disabled) return 'undef'
  if (value === 127) return '^?'
  return value < 32 ? `^${String.fromCharCode(value + 64)}` : String(value)
}
