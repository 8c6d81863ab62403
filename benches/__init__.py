"""Measurements on this machine: what is ours and what it is held against, side by side in one run.

python -m benches              everything, some minutes
python -m benches wasi echo    some of it
python -m benches --list       what there is
python -m benches --record     and add the ratios to benches/RESULTS.md
python -m benches.soak         whether anything grows over 100,000 connections
"""
