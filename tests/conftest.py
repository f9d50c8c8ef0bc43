"""Options of the test suite."""


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true",
                     help="write the present results into the golden files (tests/**/*.ir)")
