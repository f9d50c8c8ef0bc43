"""`braze.amp`: automatic mixed precision, under PyTorch's names."""

from .autocast import autocast, is_autocast_enabled
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]
