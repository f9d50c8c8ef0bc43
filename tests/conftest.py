"""Options of the test suite."""

import os

from hypothesis import settings

# A run draws the same examples each time, so that a change is what makes a test fail;
# `HYPOTHESIS_SEED=random` draws new ones.
settings.register_profile("reproducible", derandomize=True, database=None)
if os.environ.get("HYPOTHESIS_SEED") != "random":
    settings.load_profile("reproducible")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true",
                     help="write the present results into the golden files (tests/**/*.ir)")
