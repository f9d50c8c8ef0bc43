"""How many processors a control group leaves to this process, under Linux: containers and services are limited so.

A process is in one group of each hierarchy (`/proc/self/cgroup`); the limits of that group and of all groups around it
hold. Version 2 has one hierarchy and the file `cpu.max`, version 1 one for the `cpu` controller.
"""

from __future__ import annotations

from collections.abc import Iterator


def processors(root: str = "") -> float | None:
    """The processors that may be used, as a number that need not be whole; None without a limit. `root` is put before
    all paths.
    """
    limits = [limit for folder in _folders(root) for limit in (_unified(folder), _divided(folder)) if limit is not None]
    return min(limits, default=None)


def _folders(root: str) -> Iterator[str]:
    """The folders of the process's groups for processors, and of all groups around them."""
    mounted = f"{root}/sys/fs/cgroup"
    groups = [("", "/")]                              # what a container sees may be the root alone
    for line in text(f"{root}/proc/self/cgroup").splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers or "cpu" in controllers.split(","):
            groups.append((controllers, path))
    for controllers, path in groups:
        parts = [part for part in path.split("/") if part not in ("", "..")]
        mounts = ("cpu", controllers) if controllers else ("", "unified", "cpu") if path == "/" else ("", "unified")
        for mount in dict.fromkeys(mounts):
            for n in range(len(parts) + 1):
                yield "/".join([mounted, *([mount] if mount else []), *parts[:n]])


def _unified(folder: str) -> float | None:
    """Version 2: "microseconds of each period"."""
    words = text(f"{folder}/cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _divided(folder: str) -> float | None:
    """Version 1: the same in two files."""
    return _ratio(text(f"{folder}/cpu.cfs_quota_us"), text(f"{folder}/cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """None for "max" and -1, which are no limit."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def text(path: str) -> str:
    """What is in a small file of the system; nothing where there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
