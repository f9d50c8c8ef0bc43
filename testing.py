"""`braze.testing`: gradients against finite differences, tensors against tensors."""

from .tracer.testing import TOLERANCE, assert_close, gradcheck

__all__ = ["TOLERANCE", "assert_close", "gradcheck"]
