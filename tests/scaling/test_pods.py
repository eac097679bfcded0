"""The meshes of pod configs on the devices of their slices, as libtpu describes them."""

import json
import os
import pathlib
import re

import pytest

from tests.commands.test_compile import LIBTPU
from tests.processes import run_python

SHARES = """
import collections, importlib, json, sys
import numpy as np
from sora_jax.processes import batch_share
from sora_jax.rows import batch_specs
from sora_jax.scaling.topology import topology_devices
from sora_jax.sharding import make_mesh
from sora_jax.training.experiments import parse

found = {}
for name, topology, slices in json.loads(sys.argv[1]):
    experiment = parse(importlib.import_module(f"experiments.pods.{name}").get_config().to_dict())
    mesh = make_mesh(experiment.mesh, topology_devices(topology, slices))
    places = collections.defaultdict(set)
    halves = collections.defaultdict(set)
    for (data, fsdp, _, _), device in np.ndenumerate(mesh.devices):
        places[device.process_index].add(data * mesh.shape["fsdp"] + fsdp)
        halves[getattr(device, "slice_index", 0)].add(data * slices // mesh.shape["data"])
    shares = {p: batch_share(mesh, batch_specs(), p) for p in places}
    found[name] = {
        "shape": list(mesh.shape.values()),
        "config": [experiment.mesh.data, experiment.mesh.fsdp],
        "processes": len(places),
        "right": all(shares[p].shards == tuple(sorted(places[p])) for p in places),
        "rows": [shares[p].rows(experiment.packing.rows) for p in sorted(places)],
        "rows_in_all": experiment.packing.rows,
        "slices": sorted(map(sorted, halves.values())),
    }
print(json.dumps(found))
"""
HOSTS = {
    "v5e_3b": 64,
    "v5p_30b_two_slices": 256,
    "v5p_7b": 128,
    "v5p_sample_minute": 128,
    "v6e_wan_14b": 64,
}
"""Machines of the slices, with four chips each."""


def commands():
    """Name, topology and slices of each pod config, as the command in its file says them."""
    for path in sorted(pathlib.Path("experiments/pods").glob("v*.py")):
        text = path.read_text()
        slices = re.search(r"--slices=(\d+)", text)
        topology = re.search(r"--topology=(\S+)", text)[1]
        yield path.stem, topology, int(slices[1]) if slices else 1


@pytest.mark.skipif(not LIBTPU.exists(), reason="libtpu is not there: run `make test`")
def test_each_pod_config_makes_its_mesh_and_every_process_loads_its_rows():
    path = f"{LIBTPU}{os.pathsep}.{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = run_python("-c", SHARES, json.dumps(list(commands())), PYTHONPATH=path)
    found = json.loads(done.stdout)
    assert {name: pod["processes"] for name, pod in found.items()} == HOSTS
    for name, pod in found.items():
        assert pod["right"], name
        assert pod["shape"][:2] == pod["config"]
        assert {row for rows in pod["rows"] for row in rows} == set(range(pod["rows_in_all"])), name
    assert found["v5p_30b_two_slices"]["slices"] == [[0], [1]]  # only `data` leaves a slice
    assert found["v5p_sample_minute"]["rows"] == [[0]] * 128  # all hold parts of one row
