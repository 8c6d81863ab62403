"""Fuzzing of every parser that reads what others wrote: `targets` says which, and `python -m fuzz` runs them.

What a target finds goes into `corpus/TARGET` as a file named by its defect, and is a test from then on.
"""
