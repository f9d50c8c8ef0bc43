"""Each example runs, with small sizes, and does what it says."""

import os
import pathlib
import runpy
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """run(name): (what main() returned, what was printed)."""
    monkeypatch.setenv("BRAZE_QUICK", "1")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "measure", raising=False)

    def example(name):
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        result = names["main"]() if "main" in names else None
        return result, capsys.readouterr().out

    yield example
    sys.modules.pop("measure", None)


def test_all_examples_are_tested():
    tested = {"quickstart", "train_digits", "char_gpt", "black_scholes", "heat_equation", "nbody", "inspect_ir",
              "measure", "gpu_vs_cpu"}
    assert {p.stem for p in EXAMPLES.glob("*.py")} == tested


@pytest.mark.parametrize("name, bound", [("black_scholes", 1e-5), ("heat_equation", 1e-5), ("nbody", 1e-12)])
def test_numerical_examples_agree_with_numpy(run, name, bound):
    worst, text = run(name)
    assert worst < bound and "Braze, compiled" in text


def test_digits_learn_alike_eager_and_compiled(run):
    (eager, compiled), text = run("train_digits")
    assert eager == pytest.approx(compiled, abs=0.01) and compiled > 0.7
    assert "compiled 1 time in" in text


def test_the_language_model_learns(run):
    losses, text = run("char_gpt")
    assert losses[-1] < 0.8 * losses[0] and "1 compilation." in text


def test_quickstart(run):
    _, text = run("quickstart")
    final = float(text.split("step 1000: loss ")[1].split()[0])
    assert final < 0.02 and "w.grad = tensor([2., 4., 6.])" in text


def test_every_stage_is_shown(run):
    _, text = run("inspect_ir")
    for stage in ("graph", "optimized", "fused", "source", "explain", "history"):
        assert f"--- {stage}" in text


def test_gpu_and_cpu_agree_on_a_simulated_device():
    command = [sys.executable, str(EXAMPLES / "gpu_vs_cpu.py")]
    done = subprocess.run(command, env={**os.environ, "BRAZE_TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("after 3 steps: ")[1].split(";")[0]) < 1e-4


def test_where_there_is_no_gpu_the_example_says_so(run):
    import braze

    if braze.cuda.is_available():
        pytest.skip("there is a GPU")
    worst, text = run("gpu_vs_cpu")
    assert worst is None and text.startswith("There is no GPU here.")
