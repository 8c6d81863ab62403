"""What the project's HTTP services share: where they listen, and what a client may send and how long it may take.

It decides nothing of what a service is for; the Steward and Drawbridge are built on it.
"""
