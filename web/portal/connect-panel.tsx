import { signal } from '@preact/signals'
import type { Frame } from '../shared/frame.ts'
import { Line } from '../shared/parts.tsx'
import {
  bastionOf,
  commandLine,
  configBlock,
  jumpBlock,
  jumpLine,
  rsyncLine,
  scpLine,
  sftpLine,
  shellLine,
  userName,
} from './connect-lines.ts'
import { texts } from './home-texts.ts'

const clients = ['ssh', 'files', 'config'] as const
type Client = (typeof clients)[number]

const stored = 'vaultterm-client'
/** The remembered client: the second visit is one click. */
const client = signal<Client>(clients.find((one) => one === localStorage.getItem(stored)) ?? 'ssh')

function choose(to: Client): void {
  client.value = to
  localStorage.setItem(stored, to)
}

/** The line that one key copies. */
export function rememberedLine(frame: Frame, target: string): string {
  const place = { tenant: frame.tenant, target }
  const lines = { ssh: shellLine, files: scpLine, config: configBlock }
  return lines[client.value](bastionOf(frame), place)
}

/** How to reach one target: the line to paste comes first. */
export function ConnectPanel(props: {
  readonly frame: Frame
  readonly target: string
  readonly onClose: () => void
}) {
  const { frame, target, onClose } = props
  const words = texts.panel
  const close = (event: Event) => {
    event.preventDefault()
    onClose()
  }
  return (
    <aside class="panel" aria-label={words.title(target)}>
      <header>
        <div>
          <p class="crumb">
            <a href="/" onClick={close}>
              {words.back}
            </a>
          </p>
          <h2 tabIndex={-1} id="panel-title">
            {words.title(target)}
          </h2>
        </div>
        <a class="button plain end" href="/" onClick={close}>
          {words.close} <kbd>Esc</kbd>
        </a>
      </header>
      <fieldset class="pick">
        <legend class="hide">{words.clients}</legend>
        {clients.map((one) => (
          <label key={one}>
            <input
              type="radio"
              name="client"
              checked={client.value === one}
              onChange={() => choose(one)}
            />
            {words.names[one]}
          </label>
        ))}
      </fieldset>
      <Lines frame={frame} target={target} />
      <p class="help">{words.login(userName({ tenant: frame.tenant, target }))}</p>
      <p class="help">{words.remembered}</p>
      <details class="more">
        <summary>{words.troubleTitle}</summary>
        <ul class="small">
          {words.trouble.map(([what, help]) => (
            <li key={what}>
              <b>{what}</b>: {help}
            </li>
          ))}
        </ul>
      </details>
    </aside>
  )
}

function Lines({ frame, target }: { readonly frame: Frame; readonly target: string }) {
  const words = texts.panel
  const [bastion, place] = [bastionOf(frame), { tenant: frame.tenant, target }]
  const lines = {
    ssh: [
      [words.shell, shellLine],
      [words.command, commandLine],
      [words.jump, jumpLine],
    ],
    files: [
      [words.scp, scpLine],
      [words.sftp, sftpLine],
      [words.rsync, rsyncLine],
    ],
    config: [
      [words.config, configBlock],
      [words.jumpConfig, jumpBlock],
    ],
  } as const
  return (
    <>
      {lines[client.value].map(([label, line]) => (
        <Line key={label} label={label} text={line(bastion, place)} />
      ))}
      {client.value === 'config' && <p class="help">{words.configHelp(target)}</p>}
    </>
  )
}
