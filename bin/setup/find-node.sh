# Sourced by the launchers, with $root set. Completes the set-up, then sets $node to the Node that the
# project runs on, and puts it first on PATH for everything that it starts.

# Prints the user id of the owner of a file; of the file behind a symbolic link.
owner_of() {
  set -- $(ls -ldnL -- "$1" 2>/dev/null)
  echo "${3-}"
}

# Nothing is run that belongs to somebody else than this user, root, and the owner of the checkout, or that
# anybody may change: packages, and compiled code, which is run unseen.
user=$(id -u)
keeper=$(owner_of "$root")
# A directory may be closed, and a file in it open: of our own, each counts. The packages are too many.
open=$(find "$root/bin" "$root/src" "$root/dist" "$root/migrations" "$root/patches" "$root/web" \
  "$root/package.json" "$root/package-lock.json" ! -type l -perm -0002 2>/dev/null) || :
open=${open%%"
"*}
for part in "$root" "$root/bin" "$root/src" "$root/dist" "$root/web" "$root/web/dist" "$root/node_modules" "$root/node_modules/.vaultterm" \
  "$root/node_modules/.vaultterm-compiled" "$root"/node_modules/node-* "$open"; do
  [ -e "$part" ] || continue
  facts=$(ls -ldnL -- "$part")
  case $(owner_of "$part") in
    0 | "$user" | "$keeper") ;;
    *)
      echo "$facts" >&2
      echo "vaultterm: $part belongs to another user (see the line above): remove $root/node_modules, and run again (ERR_SETUP)" >&2
      exit 1
      ;;
  esac
  case $facts in
    ????????w*)
      echo "$facts" >&2
      echo "vaultterm: $part can be written by every user (see the line above): look at what they may have put there, then run chmod -R o-w $root (ERR_SETUP)" >&2
      exit 1
      ;;
  esac
done

bundled=
for candidate in "$root"/node_modules/node-*/bin/node; do
  if [ -x "$candidate" ]; then bundled=$candidate; fi
done
# Set-up runs on the Node of an earlier set-up, or on the system's.
if [ -n "$bundled" ] && "$bundled" -e '' 2>/dev/null; then
  starter=$bundled
elif command -v node >/dev/null 2>&1; then
  starter=$(command -v node)
else
  echo 'vaultterm: Node is not installed: install Node 20 or later, with npm (ERR_SETUP)' >&2
  exit 1
fi
# The answer on stdout is a path; messages of set-up go to stderr.
node=$("$starter" "$root/bin/setup/main.mjs")
PATH=$(dirname "$node"):$PATH
export PATH
