"""Where a Keep's evidence comes from: one module per source, and `choice`, which looks for them in order.

A source answers two questions: `probe`, is it there and of which kind; and `evidence`, which has 64 bytes of report
data attested. What comes from outside of the Keep is bounded here and judged by the verifier.
"""
