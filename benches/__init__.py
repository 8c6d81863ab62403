"""Measurements on this machine: what is ours and what it is held against, side by side in one run.

python -m benches              everything, about two minutes
python -m benches wasi echo    some of it
python -m benches --record     and add the ratios to benches/RESULTS.md
"""
