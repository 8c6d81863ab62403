"""TOML beyond what its parsers tell: where in a text each key and each value stands."""
