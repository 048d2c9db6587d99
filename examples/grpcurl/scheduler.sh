#!/usr/bin/env bash
# How the scheduler decides, step by step, with nothing but grpcurl: three nodes and a task, typed by hand.
#
#   cargo run -p scheduler-svc        # in one terminal: serves 127.0.0.1:7410
#   examples/grpcurl/scheduler.sh     # in another
#
# GRPCURL    the grpcurl to use (default: grpcurl)
# SCHEDULER  the scheduler's address (default: 127.0.0.1:7410)
#
# The scheduler keeps nothing between calls, so this can be run as often as you like and never changes anything.
set -euo pipefail

GRPCURL=${GRPCURL:-grpcurl}
SCHEDULER=${SCHEDULER:-127.0.0.1:7410}
SERVICE=davit.v1.SchedulerService

say() { printf '\n== %s\n' "$*"; }
# Takes the request, or several one after the other for a stream, from standard input.
call() { "$GRPCURL" -plaintext -d @ "$SCHEDULER" "$SERVICE/$1"; }

# Numbers of 64 bits are texts in protobuf's JSON: 8589934592 bytes are 8 GiB. What is not given is zero or empty.
read -r -d '' NODES <<'JSON' || true
[
  {"node_id": "00000000-0000-7000-8000-000000000001", "name": "ada", "os": "linux", "arch": "x86_64",
   "labels": {"zone": "a", "disk": "ssd"}, "state": "NODE_STATE_READY", "runtimes": ["RUNTIME_KIND_DOCKER"],
   "allocatable": {"cpu_millis": "4000", "memory_bytes": "8589934592"},
   "reserved": {"cpu_millis": "1000", "memory_bytes": "2147483648"}, "task_count": 2},
  {"node_id": "00000000-0000-7000-8000-000000000002", "name": "bob", "os": "linux", "arch": "x86_64",
   "labels": {"zone": "a", "disk": "hdd"}, "state": "NODE_STATE_READY", "runtimes": ["RUNTIME_KIND_DOCKER"],
   "allocatable": {"cpu_millis": "4000", "memory_bytes": "8589934592"},
   "reserved": {"memory_bytes": "8053063680"}, "task_count": 7},
  {"node_id": "00000000-0000-7000-8000-000000000003", "name": "cleo", "os": "linux", "arch": "aarch64",
   "labels": {"zone": "b", "disk": "ssd"}, "state": "NODE_STATE_READY", "runtimes": ["RUNTIME_KIND_DOCKER"],
   "allocatable": {"cpu_millis": "2000", "memory_bytes": "4294967296"}}
]
JSON

# A container with half a core and 1 GiB. Constraints speak of labels, node.name, node.os and node.arch.
read -r -d '' TASK <<'JSON' || true
{"runtime": "RUNTIME_KIND_DOCKER",
 "reservation": {"cpu_millis": "500", "memory_bytes": "1073741824"},
 "constraints": ["disk in (ssd, hdd)"]}
JSON

say "What this server offers"
"$GRPCURL" -plaintext "$SCHEDULER" list
"$GRPCURL" -plaintext "$SCHEDULER" describe "$SERVICE.SelectCandidateNodes"

say "The algorithms it knows"
call ListAlgorithms <<<'{}'

say "Step 1: which nodes could take the task, and why bob could not"
call SelectCandidateNodes <<<"{\"requirements\": $TASK, \"nodes\": $NODES}"

say "Step 2: what each node would cost; bob gets a term 'unfit'"
call Score <<<"{\"requirements\": $TASK, \"nodes\": $NODES, \"algorithm\": \"epvm\"}"

say "Step 3: the lowest cost wins; of equal ones the seed decides, here between two of three"
call Pick <<'JSON'
{"scores": [
  {"node_id": "00000000-0000-7000-8000-000000000001", "cost": 1.5},
  {"node_id": "00000000-0000-7000-8000-000000000002", "cost": 9},
  {"node_id": "00000000-0000-7000-8000-000000000003", "cost": 1.5}],
 "seed": "42"}
JSON

# A stream: the nodes once, then tasks in groups and changes of nodes. The second batch sees what the first one placed.
say "All three at once, for whole groups: 8 tasks; then cleo is lost, and 3 more"
call Place <<JSON
{"snapshot": {"nodes": $NODES}}
{"batch": {"batch_id": "1", "seed": "42", "groups": [{"group_id": "web", "requirements": $TASK, "count": 8}]}}
{"delta": {"removed_node_ids": ["00000000-0000-7000-8000-000000000003"]}}
{"batch": {"batch_id": "2", "seed": "42", "groups": [{"group_id": "db", "requirements": $TASK, "count": 3}]}}
JSON

say "A request with mistakes: the answer names each of them by its path"
answer=$(call Score <<<'{"nodes": [{"name": "Ada Lovelace"}], "algorithm": "best"}' 2>&1) || true
echo "$answer"
[[ $answer == *"Code: InvalidArgument"* ]]
