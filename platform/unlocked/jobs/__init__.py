"""Runs as jobs of a Ray cluster: packed, queued, followed and stopped through Ray's own Jobs API.

Ray runs what it is given at once and fails what waits for 15 minutes. So `unlocked submit` leaves a ticket: a job of
Ray's that does nothing and whose metadata say what is to be run. The keeper, a detached actor on the head node, starts
tickets in their order as soon as the cluster has room for all that a job will ask for. The queue is Ray's own table of
jobs and nothing else, so it lives as long as that table, whichever processes die in between.
"""

from unlocked.jobs.client import Cluster
from unlocked.jobs.submit import follow, stop, submit
from unlocked.jobs.table import Job, read_table

__all__ = ["Cluster", "Job", "follow", "read_table", "stop", "submit"]
