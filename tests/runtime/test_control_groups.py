"""How many processors a control group leaves, on trees of files as the kernel shows them."""

import pytest
from braze.runtime import machine
from braze.runtime.control_groups import processors

OWN = "proc/self/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"

TREES = {
    "no groups at all": ({}, None),
    "version 2, its own group": (
        {OWN: "0::/user.slice/job", "sys/fs/cgroup/user.slice/job/cpu.max": "150000 100000"}, 1.5),
    "version 2, a group around it": (
        {OWN: "0::/a/b/c", "sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
         "sys/fs/cgroup/a/b/c/cpu.max": "400000 100000"}, 2.0),
    "version 2, the root of a container": ({OWN: "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "version 2, a path that is not seen": (
        {OWN: "0::/../../docker/1234", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
    "version 2, another process's group": (
        {OWN: "0::/mine", "sys/fs/cgroup/mine/cpu.max": "max 100000", "sys/fs/cgroup/yours/cpu.max": "10000 100000"},
        None),
    "version 1": (
        {OWN: "12:memory:/m\n4:cpu,cpuacct:/job\n1:name=systemd:/s", f"{V1}/job/cpu.cfs_quota_us": "250000",
         f"{V1}/job/cpu.cfs_period_us": "100000", f"{V1}/cpu.cfs_quota_us": "-1", f"{V1}/cpu.cfs_period_us": "100000"},
        2.5),
    "version 1, only the short name": (
        {OWN: "4:cpuacct,cpu:/job", "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "100000",
         "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "50000"}, 2.0),
    "version 1, without a limit": (
        {OWN: "4:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        None),
    "both versions side by side": (
        {OWN: "4:cpu:/job\n0::/other", "sys/fs/cgroup/unified/other/cpu.max": "max 100000",
         "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "75000", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000"}, 0.75),
    "damaged": ({OWN: "nonsense\n0::", "sys/fs/cgroup/cpu.max": "a b c"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_limits_are_read(name, tmp_path):
    files, wanted = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "\n")
    assert processors(str(tmp_path)) == wanted


@pytest.mark.parametrize("limit, bound, wanted", [(None, 8, 8), (1.5, 8, 2), (0.2, 8, 1), (16.0, 8, 8), (3.0, 2, 2)])
def test_threads_are_as_many_as_both_allow(limit, bound, wanted, monkeypatch):
    monkeypatch.setattr(machine, "processors", lambda: limit)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(bound)), raising=False)
    assert machine.usable_threads() == wanted
