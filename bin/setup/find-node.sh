# Sourced by the launchers, with $root set. Sees to the set-up, then sets $node to the Node that the
# project runs on, which is also the first on PATH for whatever that starts.

bundled=
for candidate in "$root"/node_modules/node-*/bin/node; do
  if [ -x "$candidate" ]; then bundled=$candidate; fi
done
# Set-up runs on whatever is here: the last one's Node, or the system's.
if [ -n "$bundled" ] && "$bundled" -e '' 2>/dev/null; then
  starter=$bundled
elif command -v node >/dev/null 2>&1; then
  starter=$(command -v node)
else
  echo 'vaultterm: no Node here: install Node 20 or later, with npm (ERR_SETUP)' >&2
  exit 1
fi
# The answer on stdout is a path; all that set-up has to say goes to stderr.
node=$("$starter" "$root/bin/setup/main.mjs")
PATH=$(dirname "$node"):$PATH
export PATH
