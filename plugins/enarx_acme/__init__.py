"""Certificates by ACME (RFC 8555), for names that browsers must trust; the extra `acme` brings its client library."""
