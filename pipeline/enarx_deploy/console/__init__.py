"""The console: a page for the user's own browser that shows what `keeps`, `verify` and `logs` show. It changes nothing.

app.py            routes, and what every answer has
entry.py          who may come in: one-time link, token, session
pages.py          the pages
certificate.py    the console's own TLS, under an authority that can certify this machine's names alone
server.py         serves it
"""
