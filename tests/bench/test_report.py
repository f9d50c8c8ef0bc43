"""What the benchmarks print, on made-up results: means, worst ratios, fractions of ceilings, changes between runs."""

import pytest
from changes import changes, pairs
from pace import Pace, takes_part
from report import markdown
from results import Cell, from_json
from standing import fractions, standing
from workloads import WORKLOADS

from .made_up import run


def line(text: str, start: str) -> str:
    """The cells of the first line of a table that starts so."""
    return next(each for each in text.splitlines() if each.startswith(f"| {start}")).replace("|", " ")


def test_results_read_back_as_written():
    assert from_json(run("2026-01-01 00:00", 2.0).to_json()) == run("2026-01-01 00:00", 2.0)


def test_means_and_worst_ratios_are_over_the_best_peer_of_each_kind():
    text = standing(run("2026-01-01 00:00", 2.0))
    assert line(text, "core list").split()[2:] == ["2.00×", "of", "1", "2.00×", "(softmax)", "1.50×", "of", "1",
                                                   "1.50×", "(softmax)"]
    assert line(text, "compute-bound").split()[-2:] == ["2.00×", "(gpt_train)"]
    assert line(text, "all").split()[1:4] == ["2.00×", "of", "2"]


def test_memory_of_training_stands_beside_torch_compile():
    assert line(standing(run("2026-01-01 00:00", 2.0)), "training").split()[1:] == ["30", "MB", "60", "MB", "0.50"]


def test_fraction_is_of_the_ceiling_that_binds():
    text = fractions(run("2026-01-01 00:00", 2.0), ["braze_compiled", "jax"])
    assert line(text, "softmax").split()[-3:] == ["memory", "50%", "25%"]
    assert line(text, "training").split()[-3:] == ["arithmetic", "50%", "–"]


def test_report_names_all_parts_and_failures():
    results = run("2026-01-01 00:00", 2.0)
    results.rows["softmax"].cells["onnx_runtime"] = Cell(failure="wrong: off by 1")
    text = markdown(results)
    for part in ("core list", "Fraction of the ceiling", "Compilation", "Peak memory", "Process start", "overhead",
                 "ONNX Runtime: wrong: off by 1", "cold start, jax: not there"):
        assert part in text


def test_changes_are_ratios_between_the_last_two_runs_of_each_workload():
    runs = [run("2026-01-01 00:00", 9.0), run("2026-01-02 00:00", 3.0), run("2026-01-03 00:00", 2.0, training=25.0)]
    text = changes(runs)
    assert line(text, "softmax").split()[1:] == ["3.00", "ms", "2.00", "ms", "1.50×", "faster"]
    assert line(text, "training").split()[1:] == ["20.0", "ms", "25.0", "ms", "0.80×", "SLOWER"]
    assert "2026-01-02 00:00) -> abc (2026-01-03" in text


def test_a_workload_that_the_last_run_left_out_is_compared_with_its_own_last():
    runs = [run("2026-01-01 00:00", 3.0), run("2026-01-02 00:00", 2.0), run("2026-01-03 00:00", 1.0)]
    del runs[2].rows["gpt_train"]
    assert [each.when[:10] for each in pairs(runs)["gpt_train"]] == ["2026-01-01", "2026-01-02"]
    assert [each.when[:10] for each in pairs(runs)["softmax"]] == ["2026-01-02", "2026-01-03"]


def test_one_run_alone_has_no_changes():
    assert "No workload" in changes([run("2026-01-01 00:00", 2.0)])


def test_another_machine_is_said():
    before, after = run("2026-01-01 00:00", 2.0), run("2026-01-02 00:00", 2.0)
    before.processor = "Another"
    assert "another machine: Another" in changes([before, after])


def test_pace_is_that_of_the_last_stored_run(tmp_path):
    (tmp_path / "1.json").write_text(run("2026-01-01 00:00", 2.0).to_json())
    pace = Pace(["softmax"], ["braze_compiled", "jax"], 5, tmp_path)
    assert pace.turns == pytest.approx([4.8, 2.8, 2.8, 2.8, 2.8])
    assert "16 s (5 turns, the first of them 5 s)" in pace.forecast()


def test_whole_run_is_expected_to_take_less_than_forty_minutes(tmp_path):
    from frameworks import FRAMEWORKS
    from workloads import GROUPS, USUAL_GROUPS

    names = [name for group in USUAL_GROUPS for name in GROUPS[group]]
    assert sum(Pace(names, list(FRAMEWORKS), 5, tmp_path).turns) < 40 * 60


def test_frameworks_take_part_where_a_workload_is_written_for_them():
    inference = {name for name, workload in WORKLOADS.items() if takes_part("onnx_runtime", workload, 0)}
    assert {"matmul_1024", "mlp", "conv_block", "attention", "gpt_block", "resnet50_8", "bert", "lstm", "gpt_decode",
            "kmeans"} <= inference
    assert not inference & {"attention_grad", "gpt_train", "cnn_train", "softmax"}
    assert not takes_part("braze_eager", WORKLOADS["softmax"], 2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_written_bytes_are_part_of_all(name):
    workload = WORKLOADS[name]
    assert 0 < workload.writes < workload.bytes


def test_copy_takes_as_long_as_memory_needs():
    pytest.importorskip("llvmlite")
    from traffic import copy_seconds

    assert 1e-7 < copy_seconds(1 << 20, 1 << 10, 1) < 1.0
