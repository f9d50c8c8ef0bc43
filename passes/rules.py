"""All rewrite rules: importing this module fills the table."""

from . import rules_arithmetic, rules_casts, rules_choices, rules_reductions, rules_views
from .rewrite import TABLE

__all__ = ["TABLE", "rules_arithmetic", "rules_casts", "rules_choices", "rules_reductions", "rules_views"]
