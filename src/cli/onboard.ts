import type { Target } from '../access/index.ts'

/** Everything that a target needs to accept our certificates. */
export interface CertificateTrust {
  /** Lines of `TrustedUserCAKeys`. */
  readonly authorities: readonly string[]
  /** The one principal of each login. */
  readonly principals: readonly (readonly [login: string, principal: string])[]
  readonly revocationList: Buffer
}

/**
 * The shell lines that make a target accept our key for each of its logins. An administrator runs them
 * once on the target; a second run changes nothing.
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

/**
 * The same for a target that accepts certificates: the authorities that `sshd` trusts, the principals
 * of each account, and the revocation list. Files are replaced whole: with a list that it cannot read,
 * `sshd` refuses every login.
 */
export function onboardCertificateLines(
  { name, logins }: Target,
  { authorities, principals, revocationList }: CertificateTrust,
): readonly string[] {
  return [
    '#!/bin/sh',
    `# Run on ${name} as root, and again after each rotation or revocation: lets the bastion log in`,
    `# with its certificates as ${logins.join(', ')}.`,
    'set -eu',
    'put() { cat > "$1.new" && chmod 644 "$1.new" && mv "$1.new" "$1"; }',
    'install -d -m 755 /etc/ssh/vaultterm /etc/ssh/vaultterm/principals',
    "put /etc/ssh/vaultterm/user_ca.pub <<'EOF'",
    ...authorities,
    'EOF',
    ...principals.map(
      ([login, principal]) =>
        `echo ${quote(principal)} | put /etc/ssh/vaultterm/principals/${quote(login)}`,
    ),
    `echo ${quote(revocationList.toString('base64'))} | base64 -d | put /etc/ssh/vaultterm/revoked.krl`,
    "put /etc/ssh/vaultterm/sshd.conf <<'EOF'",
    'TrustedUserCAKeys /etc/ssh/vaultterm/user_ca.pub',
    'AuthorizedPrincipalsFile /etc/ssh/vaultterm/principals/%u',
    'RevokedKeys /etc/ssh/vaultterm/revoked.krl',
    'EOF',
    'line="Include /etc/ssh/vaultterm/sshd.conf"',
    'if ! grep -qxF "$line" /etc/ssh/sshd_config; then',
    // At the top, because lines after a Match block belong to it.
    '  { echo "$line"; cat /etc/ssh/sshd_config; } > /etc/ssh/sshd_config.new',
    '  mv /etc/ssh/sshd_config.new /etc/ssh/sshd_config',
    'fi',
    '"$(command -v sshd || echo /usr/sbin/sshd)" -t',
    '! command -v systemctl > /dev/null || systemctl reload ssh 2> /dev/null || systemctl reload sshd',
  ]
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
