"""The built-in sources of certificates: a Steward, and a throw-away authority that nobody vouches for."""
