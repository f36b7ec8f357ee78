"""Graphs: as arrays, from tables, and from files of molecules."""
