"""The command line: everything it does is three lines of Python too."""
