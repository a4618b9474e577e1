set -eu
cd "$(dirname "$0")"
program=${GRAPEVINE:-grapevine}
command -v "$program" >/dev/null || {
  echo "run: no $program on the PATH; GRAPEVINE=/path/to/grapevine names another" >&2
  exit 1
}
set -a
# shellcheck source=/dev/null
. ./keys.env
set +a

field() { echo "$1" | cut -d : -f "$2"; }

for node in $nodes; do
  "$program" check -c "$(field "$node" 1)/node.yaml" >/dev/null || {
    "$program" check -c "$(field "$node" 1)/node.yaml" >&2
    exit 1
  }
done

pids=
end() {
  trap - INT TERM EXIT
  # They finish what is in flight. One that has ended already is none to wait for.
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait
}
trap 'end; exit 130' INT
trap 'end; exit 143' TERM
trap end EXIT

for node in $nodes; do
  name=$(field "$node" 1)
  "$program" node -c "$name/node.yaml" >"$name/node.log" 2>&1 &
  pids="$pids $!"
  echo "$name  http://127.0.0.1:$(field "$node" 2)/v1  dashboard http://127.0.0.1:$(field "$node" 3)/  log $name/node.log"
done
echo "The clients' key is in $PWD/app.key. Ctrl-C ends all nodes."

while sleep 1; do
  for pid in $pids; do
    kill -0 "$pid" 2>/dev/null || {
      echo "run: a node has ended; its log says why:" >&2
      tail -n 3 ./*/node.log >&2
      exit 1
    }
  done
done
