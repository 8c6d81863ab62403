"""The Steward: appraises a Keep's evidence under a policy and issues short-lived certificates on it.

It imports `enarx_attestation` and nothing else of the house, so that it can run in a Keep or on a machine of its own.
`issuance` holds the decision, `app` the two wire protocols, `server` the process, `background` the one that a user's
machine keeps running by itself.
"""
