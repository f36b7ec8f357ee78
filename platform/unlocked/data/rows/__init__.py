"""Inputs that stay where they are: rows of files, tables and data sets that a minibatch reads when it needs them."""

from unlocked.data.rows.source import RowSource
from unlocked.data.rows.tensor import RowTensor, is_read

__all__ = ["RowSource", "RowTensor", "is_read"]
