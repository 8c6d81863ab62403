"""A client of Drawbridge: what it asks a registry and a provider of identities, and how it keeps logins."""
