"""The Steward: appraises a Keep's evidence under a policy and issues short-lived certificates on it.

It imports `enarx_attestation` and `enarx_collateral`, and nothing else of the house: it can run in a Keep, or on a
machine of its own. `issuance` holds the decision, `appraisal` what it rests on, `app` the two wire protocols, `server`
the process, `background` the one that a user's machine keeps running by itself.
"""
