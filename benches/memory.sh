#!/usr/bin/env bash
# Resident memory at rest, in MiB: the daemon with N agents, and the agents, all of `nixfleet demo`. Linux only.
#
#   cargo build --release --workspace && benches/memory.sh [N] [SECONDS AT REST]
#
# Before it is measured each host has pulled, switched and run its tests. No tab is open.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
hosts=${1:-50}
rest=${2:-60}
out=$(mktemp)
target/release/nixfleet demo --json --hosts "$hosts" >"$out" 2>/dev/null &
demo=$!
trap 'kill -INT "$demo" 2>/dev/null; wait "$demo" || true; rm -f "$out"' EXIT
until [ -s "$out" ]; do
  kill -0 "$demo"
  sleep 1
done
sleep "$rest"
daemon=$(sed 's/.*"daemon_pid":\([0-9]*\).*/\1/' "$out")
resident() { awk '/^VmRSS:/ {print $2}' "/proc/$1/status"; }
printf 'daemon with %s agents: %s MiB\n' "$hosts" "$(resident "$daemon" | awk '{printf "%.1f", $1 / 1024}')"
for agent in $(pgrep -P "$demo" -f nixfleet-agent); do resident "$agent"; done | sort -n |
  awk '{kib[NR] = $1 / 1024} END {printf "agents: %d, least %.1f, median %.1f, most %.1f MiB\n", NR, kib[1], kib[int((NR + 1) / 2)], kib[NR]}'
