import { isLogin, type Target } from '../access/index.ts'

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
 *
 * The account controls its home, and root would follow its links. So root only takes on the account,
 * without its own terminal, environment and output: a process of the account can reach all of them.
 * The line that writes checks that it is the account: no two systems have the same `su`.
 *
 * The account may put a pipe in the place of its file, or hold up what runs as itself in some other way:
 * it gets a bounded time, and then it is the turn of the next.
 */
export function onboardLines({ name, logins }: Target, publicKey: string): readonly string[] {
  return [
    '#!/bin/sh',
    `# Run once on ${name} as root: lets the bastion log in as ${logins.join(', ')}.`,
    `key=${quote(publicKey)}`,
    '# Each account controls its home, so all that is done there is done as that account.',
    'add=\'umask 077; [ "$(id -u)" = "$1" ] && cd "$2" && mkdir -p .ssh && cd .ssh || exit 1',
    '  [ -f authorized_keys ] || [ ! -e authorized_keys ] || exit 1',
    '  chmod go-w . authorized_keys 2> /dev/null; grep -qxF "$3" authorized_keys 2> /dev/null ||',
    '  { [ -z "$(tail -c 1 authorized_keys 2> /dev/null)" ] || echo; printf "%s\\n" "$3"; } >> authorized_keys\'',
    'clean() { env -i PATH="$PATH" $(command -v setsid) "$@"; }',
    'as() (',
    '  cd / && login=$1 && shift',
    '  clean su -s /bin/sh "$login" -c "$@" || clean runuser -s /bin/sh "$login" -c "$@" ||',
    '  clean setpriv --reuid "$(id -u "$login")" --regid "$(id -g "$login")" --init-groups sh -c "$@" ||',
    '  clean sudo -n -u "$login" sh -c "$@"',
    ') < /dev/null > /dev/null 2>&1',
    'bounded() {',
    '  "$@" & job=$!',
    '  { sleep 20 && kill -9 "$job"; } > /dev/null 2>&1 & clock=$!',
    '  wait "$job" 2> /dev/null; status=$?',
    '  kill "$clock" 2> /dev/null; return "$status"',
    '}',
    'onboard() {',
    '  home=$(getent passwd "$1" 2> /dev/null | cut -d: -f6)',
    '  [ -n "$home" ] || home=$2',
    '  uid=$(id -u "$1" 2> /dev/null) || { echo "no account $1 here" >&2; return 1; }',
    '  if [ "$uid" = "$(id -u)" ]; then bounded sh -c "$add" sh "$uid" "$home" "$key"',
    '  else bounded as "$1" "$add" sh "$uid" "$home" "$key"; fi && return',
    '  echo "cannot write $home/.ssh/authorized_keys as $1 (by su, runuser, setpriv or sudo)" >&2',
    '  return 1',
    '}',
    'failed=0',
    ...logins.map((login) => `onboard ${quote(login)} ${homeOf(login)} || failed=1`),
    '[ "$failed" = 0 ]',
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
    // Not into put, which would take an empty list of a failed base64.
    `echo ${quote(revocationList.toString('base64'))} | base64 -d > /etc/ssh/vaultterm/revoked.krl.bin`,
    'put /etc/ssh/vaultterm/revoked.krl < /etc/ssh/vaultterm/revoked.krl.bin',
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

/** For systems without `getent`: the shell knows the home of an account by its bare name. */
function homeOf(login: string): string {
  return isLogin(login) ? `~${login}` : quote('')
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
