#!/usr/bin/env bash
# The life of some tasks, with nothing but grpcurl and the manager's reflection. Needs a manager, such as that of `davit dev`.
#
#   MANAGER   its address       127.0.0.1:7400
#   GRPCURL   the program       grpcurl
set -euo pipefail
manager=${MANAGER:-127.0.0.1:7400}
call() { "${GRPCURL:-grpcurl}" -plaintext -d "$2" "$manager" "davit.v1.$1"; }

echo "== what there is"
"${GRPCURL:-grpcurl}" -plaintext "$manager" list
call ClusterService/GetCluster '{}'
call NodeService/ListNodes '{}'

echo "== three processes in one call; the request id makes it safe to repeat"
request='{
  "requestId": "example-'$$'",
  "groups": [{
    "count": 3,
    "spec": {
      "name": "example",
      "labels": {"from": "tasks.sh"},
      "process": {"command": ["sh", "-c", "echo hello from $$; sleep 2; exit 1"]},
      "resources": {"reservation": {"cpuMillis": 50, "memoryBytes": 16777216}},
      "restartPolicy": {"mode": "RESTART_MODE_ON_FAILURE", "maxAttempts": 2, "initialDelay": "0.5s"}
    }
  }]
}'
call TaskService/BatchCreateTasks "$request"
call TaskService/BatchCreateTasks "$request" # answers the same ids

echo "== what happens to them, for five seconds"
"${GRPCURL:-grpcurl}" -plaintext -max-time 5 -d '{"afterRevision": 0, "filter": {"types": ["EVENT_TYPE_TASK_STATE_CHANGED"]}}' \
    "$manager" davit.v1.EventService/WatchEvents | grep '"message"' || true

echo "== how they ended, page by page"
call TaskService/ListTasks '{"filter": {"labels": {"from": "tasks.sh"}}, "pageSize": 2}'

echo "== a request with mistakes is answered with every wrong field"
call TaskService/CreateTask '{"spec": {"name": "no spaces", "container": {"image": "UPPER", "ports": [{}]}}}' || true
