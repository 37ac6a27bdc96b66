import type { Target } from '../access/index.ts'

/**
 * What to run once on a target, as an administrator of it, so that it accepts our key for each of
 * its logins. Running it again changes nothing.
 */
export function onboardLines({ name, logins }: Target, publicKey: string): readonly string[] {
  return [
    '#!/bin/sh',
    `# Run once on ${name} as root: lets the bastion log in as ${logins.join(', ')}.`,
    `key=${quote(publicKey)}`,
    `for login in ${logins.map(quote).join(' ')}; do`,
    '  home=$(getent passwd "$login" | cut -d: -f6)',
    '  [ -n "$home" ] || { echo "no account $login here" >&2; continue; }',
    '  install -d -m 700 -o "$login" -g "$(id -gn "$login")" "$home/.ssh"',
    '  file=$home/.ssh/authorized_keys',
    '  grep -qxF "$key" "$file" 2>/dev/null && continue',
    '  [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ] && echo >> "$file"',
    '  printf \'%s\\n\' "$key" >> "$file"',
    '  chmod 600 "$file" && chown "$login:$(id -gn "$login")" "$file"',
    'done',
  ]
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
