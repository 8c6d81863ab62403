"""How the lines of a pod's host process are told from those of its workload, and what a program reads of them."""

SAYS = "enarx-deploy: "
"""What they begin with."""
CERTIFICATE = "certificate "
"""After it, in JSON: the chain (base64 of DER, leaf first) and when the leaf ends."""
