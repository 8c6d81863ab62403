"""The Keep's own program: the only Python that runs inside a Keep, and so part of what is measured.

It does the slow things that happen once: take the package and check it, make the key, answer the challenge, load the
module. Then it hands over to the sallyport's guest half, and no Python runs while the workload does.

It uses the standard library, `wasmtime` and `enarx_sallyport`, and imports nothing else of the house.
"""
