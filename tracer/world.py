"""A counter that moves on when anything that traces may have read (modules, optimisers) was changed outside a trace."""

WORLD = [0]


def bump() -> None:
    """Something changed: compiled functions look at their guards again."""
    WORLD[0] += 1
