"""Runs beside each other: what differs, means and intervals, paired differences."""
