"""The op registry: importing this room declares all ops in the namespace `F`."""

from . import arithmetic, composites, contraction, control, creation, elementary, indexing, reductions, views
from .namespace import F

__all__ = ["F", "arithmetic", "composites", "contraction", "control", "creation", "elementary", "indexing", "reductions", "views"]
