#!/usr/bin/env bash
# Where would it go, and why not elsewhere? With nothing but grpcurl and the manager's reflection, and without creating
# anything. Needs a manager with a scheduler, such as that of `davit dev`.
#
#   MANAGER   its address       127.0.0.1:7400
#   GRPCURL   the program       grpcurl
set -euo pipefail
manager=${MANAGER:-127.0.0.1:7400}
call() { "${GRPCURL:-grpcurl}" -plaintext -d "$2" "$manager" "davit.v1.$1"; }

# Four cores, 64 GiB and an SSD: more than a laptop has.
spec='{
  "name": "database",
  "process": {"command": ["true"]},
  "resources": {"reservation": {"cpuMillis": 4000, "memoryBytes": 68719476736}},
  "constraints": ["disk == ssd"],
  "placement": {"spread": [{"attribute": "zone"}]}
}'

echo "== every node, every filter, with amounts"
call ClusterService/ExplainPlacement '{"spec": '"$spec"'}'

# A name that no node has adds one; a name that is there changes it, or leaves it out with "absent": true.
echo "== what if there were a larger node, and two of these tasks"
call ClusterService/ExplainPlacement '{
  "spec": '"$spec"',
  "count": 2,
  "overrides": [{
    "node": "what-if",
    "labels": {"disk": "ssd", "zone": "z"},
    "allocatable": {"cpuMillis": 16000, "memoryBytes": 137438953472, "diskBytes": 1099511627776}
  }]
}'

echo "== moves that would even the cluster out"
call ClusterService/PlanRebalance '{"maxMoves": 10}'
