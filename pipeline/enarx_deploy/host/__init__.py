"""The host side of a running Keep: what it opens for it, what it sends it, and the process that watches over it.

`session.Session` is one Keep from start to end, used by `enarx-deploy run` in its own process and by the background
process of the local target (`python -m enarx_deploy.host`).
"""
