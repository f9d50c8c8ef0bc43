"""Braze: a tensor library with a compiler at its heart."""
