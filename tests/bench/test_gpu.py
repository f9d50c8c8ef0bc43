"""The GPU's benchmark, tried without one: its bookkeeping on made-up results, and two tiny workloads end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import compare_samples, jobs, judge
from gpu_report import GpuCell, GpuRun, from_json, markdown
from gpu_workloads import workloads

BENCH = Path(__file__).resolve().parents[2] / "bench"


def run() -> GpuRun:
    made = GpuRun("2026-01-01 00:00", "abc", "Made up", "1", 50 << 20, 3e12)
    made.add("softmax", "softmax", 3_000_000_000, 10)
    made.add("matmul_4096", "matmul", 10, 2 * 4096**3)
    cells = made.rows["softmax"].cells
    cells["braze"] = GpuCell(2e-3, 0.1, 0.2, version="1")
    cells["torch_compile"] = GpuCell(3e-3, 1.0, 0.2)
    cells["torch_eager"] = GpuCell(1e-3, failure="wrong: off by 1")
    cells = made.rows["matmul_4096"].cells
    cells["braze"], cells["libraries"] = GpuCell(4e-4, 0.1, 0.1), GpuCell(2e-4, 0.1, 0.1)
    return made


def test_runs_read_back_as_written():
    assert from_json(run().to_json()) == run()


def test_the_short_table_stands_last_and_a_wrong_result_is_no_time():
    text = markdown(run())
    softmax, matmul, mean = text.strip().splitlines()[-3:]
    assert "1.50×" in softmax and "50% of a copy" in softmax and "1.00 ms" not in softmax
    assert "344 TFLOP/s, 50% of the libraries" in matmul and "0.50×" in matmul
    assert "0.87×" in mean
    assert "wrong: off by 1" in text and "0.10" in text


def test_a_sample_that_is_off_is_a_failure():
    right, wrong, short = (GpuCell(sample=sample) for sample in ([1.0, 2.0], [1.0, 2.5], [1.0]))
    for cell in (right, wrong, short):
        judge(cell, [1.0, 2.001], 1e-2)
    assert right.failure is None and wrong.failure.startswith("wrong") and short.failure.startswith("wrong")


def test_without_a_reference_frameworks_are_held_to_torch_eager():
    made = workloads(tiny=True)
    found = GpuRun("", "")
    found.add("gpt_train", "", 1, 1)
    cells = found.rows["gpt_train"].cells
    cells["braze"], cells["torch_eager"] = GpuCell(1.0, sample=[3.0]), GpuCell(1.0, sample=[2.0])
    compare_samples(found, made)
    assert cells["braze"].failure.startswith("wrong") and cells["torch_eager"].failure is None


def test_what_matters_most_is_started_first():
    class Options:
        frameworks = ["torch_autotune", "libraries", "braze"]

    made = workloads(tiny=False)
    found = list(jobs(made, Options))
    assert [framework for framework, _ in found][: len(made)] == ["braze"] * len(made)
    assert found[-1][0] == "torch_autotune" and ("libraries", "softmax") not in found


@pytest.mark.parametrize("name", workloads(tiny=False))
def test_traffic_and_work_are_counted(name):
    workload = workloads(tiny=False)[name]
    assert workload.bytes > 10**6 and workload.flops > 10**7


def test_tiny_workloads_run_on_the_simulated_device(tmp_path):
    pytest.importorskip("triton")
    environment = {**os.environ, "BRAZE_TRITON_INTERPRET": "1", "TRITON_INTERPRET": "1"}
    command = [sys.executable, str(BENCH / "gpu.py"), "--tiny", "--only", "softmax", "matmul_4096", "--together", "1",
               "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = tmp_path.glob("*.json")
    rows = from_json(file.read_text()).rows
    assert {name: row.cells["braze"].failure for name, row in rows.items()} == {"softmax": None, "matmul_4096": None}
    assert json.loads(file.read_text())["tiny"] and "over the best peer" in done.stdout
