"""Drives a Davit manager from Python, with stubs that are generated on the spot from the .proto files.

    pip install grpcio grpcio-tools grpcio-status
    python examples/python/client.py --manager 127.0.0.1:7400 --image busybox --count 3

Creates some tasks, watches events until all of them run, shows where, stops them, watches until they ended, deletes them.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import uuid

import grpc
import grpc_tools.protoc
from grpc_status import rpc_status
from google.rpc import error_details_pb2


def generate_stubs(proto_root: pathlib.Path, out: pathlib.Path) -> None:
    """Compiles davit/v1/*.proto into `out` and makes the result importable."""
    well_known = pathlib.Path(grpc_tools.protoc.__file__).parent / "_proto"
    protos = sorted(str(path) for path in (proto_root / "davit" / "v1").glob("*.proto"))
    arguments = ["protoc", f"-I{proto_root}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if grpc_tools.protoc.main(arguments + protos) != 0:
        sys.exit("the .proto files could not be compiled")
    sys.path.insert(0, str(out))


def explain(error: grpc.RpcError) -> str:
    """One line for an error, with every wrong field."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest()
            detail.Unpack(bad_request)
            lines += [f"{wrong.field}: {wrong.description}" for wrong in bad_request.field_violations]
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manager", default="127.0.0.1:7400")
    parser.add_argument("--image", default="busybox")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--pull-policy", default="PULL_POLICY_MISSING")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for the whole run")
    parser.add_argument("--proto", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "proto")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as out:
        generate_stubs(options.proto, pathlib.Path(out))
        v1 = {
            name: importlib.import_module(f"davit.v1.{name}_pb2")
            for name in ("task", "task_spec", "task_service", "event_service", "node_service")
        }
        grpc_of = {
            name: importlib.import_module(f"davit.v1.{name}_pb2_grpc")
            for name in ("task_service", "event_service", "node_service")
        }
        with grpc.insecure_channel(options.manager) as channel:
            tasks = grpc_of["task_service"].TaskServiceStub(channel)
            events = grpc_of["event_service"].EventServiceStub(channel)
            nodes = grpc_of["node_service"].NodeServiceStub(channel)
            try:
                run(options, v1, tasks, events, nodes)
            except grpc.RpcError as error:
                sys.exit(explain(error))


def run(options, v1, tasks, events, nodes) -> None:
    spec = v1["task_spec"].TaskSpec(
        name="python",
        container=v1["task_spec"].ContainerSpec(
            image=options.image, command=["sleep", "600"], pull_policy=options.pull_policy
        ),
        stop_policy=v1["task_spec"].StopPolicy(signal="SIGKILL"),
    )
    service = v1["task_service"]

    # A mistake first: the answer names every wrong field.
    try:
        tasks.CreateTask(service.CreateTaskRequest(spec=v1["task_spec"].TaskSpec(name="no spaces")))
        sys.exit("a wrong spec was accepted")
    except grpc.RpcError as error:
        print("refused:", explain(error))

    # With a request id the call may be repeated without creating twice.
    request = service.BatchCreateTasksRequest(
        groups=[service.TaskGroup(spec=spec, count=options.count)], request_id=str(uuid.uuid4())
    )
    created = tasks.BatchCreateTasks(request)
    assert tasks.BatchCreateTasks(request).task_ids == created.task_ids
    print(f"created {len(created.task_ids)} tasks at revision {created.revision}")

    state_names = v1["task"].TaskState
    names = {node.node_id: node.name for node in nodes.ListNodes(v1["node_service"].ListNodesRequest()).nodes}

    revision = follow(
        v1, events, 0, options.timeout, set(created.task_ids), {state_names.TASK_STATE_RUNNING}, names
    )
    for task_id in created.task_ids:
        tasks.StopTask(service.StopTaskRequest(task_id=task_id))
    follow(v1, events, revision, options.timeout, set(created.task_ids), {state_names.TASK_STATE_STOPPED}, names)
    for task_id in created.task_ids:
        tasks.DeleteTask(service.DeleteTaskRequest(task_id=task_id))
    print("all stopped and deleted")


def follow(v1, events, after, timeout, waiting, wanted, names) -> int:
    """Watches until every task of `waiting` was in a wanted state; answers the last revision seen."""
    state_names = v1["task"].TaskState
    watch = events.WatchEvents(v1["event_service"].WatchEventsRequest(after_revision=after), timeout=timeout)
    for message in watch:
        if message.WhichOneof("message") != "event":
            continue
        event = message.event
        if event.WhichOneof("object") != "task" or event.task.task_id not in waiting:
            continue
        state = event.task.status.state
        if state in wanted:
            where = names.get(event.task.status.node_id, "no node")
            print(f"{event.revision} {event.task.task_id} {state_names.Name(state)} on {where}")
            waiting.discard(event.task.task_id)
        if not waiting:
            watch.cancel()
            return event.revision
    sys.exit("the watch ended early")


if __name__ == "__main__":
    main()
